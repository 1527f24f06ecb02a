"""Four small students take the place of one teacher: the Teacher-Class Network on MNIST.

The teacher is the authors', of 2.4 million parameters. Each student learns, without labels, to say
what a quarter of the teacher's 256 units say; side by side, under the teacher's own classifier,
they are one model of 73,000 parameters, which is tuned on labels and goes to int8. About ten
minutes on two cores; `--quick` only shows that it runs.
"""

import argparse
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    splits = ("train[:54000]", "train[54000:]", "test")
    if options.quick:
        splits = ("train[:256]", "train[256:512]", "test[:256]")
    train, validation, test = (kd.datasets.load("mnist", split) for split in splits)
    for_teacher, for_students, for_tuning = options.epochs

    print("1. The teacher learns from labels.")
    teacher = teacher_model()
    compile_for_labels(teacher, train, for_teacher, rate=1e-3)
    teacher.fit(train, validation_data=validation, epochs=for_teacher, verbose=2)

    print("\n2. Each student learns to say what its chunk of the layer 'features' says; no labels.")
    students = kd.TeacherClass(teacher, "features", student_model, n=4)
    # Batch normalisation allows a high rate, which falls to nought.
    students.compile(keras.optimizers.Adam(falling(1e-2, train, for_students)))
    students.fit(train, validation_data=validation, epochs=for_students, verbose=2)

    print("\n3. Side by side, with the teacher's classifier on top, they are one model.")
    model = students.assemble(name="class")
    compile_for_labels(model, train, for_tuning, rate=3e-3)
    alone = model.evaluate(test, verbose=0)[1]

    print("\n4. The whole class is tuned: labels, and what the teacher answers.")
    distiller = kd.Distiller(model, teacher)
    compile_for_labels(distiller, train, for_tuning, rate=3e-3)
    distiller.fit(train, validation_data=validation, epochs=for_tuning, verbose=2)

    print("\n5. To int8, and to LiteRT with the test images.")
    file = kd.export.to_tflite(model, options.out / "class.tflite", "int8", calibration=train)
    model.save(options.out / "class.keras")
    rows = [
        ("teacher", teacher.evaluate(test, verbose=0)[1], teacher.count_params()),
        ("class, without labels", alone, model.count_params()),
        ("class, tuned", model.evaluate(test, verbose=0)[1], model.count_params()),
        ("class, int8", kd.export.evaluate(file, test).accuracy, model.count_params()),
    ]
    for name, accuracy, parameters in rows:
        print(f"{name:<24}{accuracy:>8.2%} of the test images{parameters:>12,} parameters")
    print(f"{file.path}: {file.size / 1000:.0f} kB")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/teacher_class_mnist"))
    parser.add_argument("--quick", action="store_true", help="256 images, one epoch")
    options = parser.parse_args()
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else (5, 4, 5))
    return options


def teacher_model():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu", name="features"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="teacher",
    )


def student_model(size):
    """A student for a chunk of `size` units; it ends without an activation."""
    x = inputs = keras.Input((28, 28, 1))
    for filters, kernel, strides in ((10, 5, 2), (20, 3, 2), (28, 3, 1), (32, 3, 2)):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))


def compile_for_labels(model, data, epochs, rate):
    model.compile(
        keras.optimizers.Adam(falling(rate, data, epochs)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def falling(rate, data, epochs):
    return keras.optimizers.schedules.CosineDecay(rate, epochs * int(data.cardinality()))


if __name__ == "__main__":
    main()
