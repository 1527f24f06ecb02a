"""Distill a teacher into a small student and export it to an int8 .tflite file (`make demo`).

The teacher is trained on all training images. The student gets only a few hundred, as if the model
came without its data. It is trained once on their labels alone and once with the teacher. All
models are exported and evaluated on the test images with LiteRT, and a table compares them. The
files, the table and a chart are in build/demo/. Takes about a minute on the embedded digits;
`--dataset mnist` and `--dataset fashion_mnist` use TFDS data sets, and `--quick` only checks that
it runs.
"""

import argparse
from pathlib import Path

import keras
from keras import layers
from quickstart_results import measure, write_results

import keras_kd as kd

# Epochs for the teacher and for each student, and the number of images for the students.
EPOCHS = {"digits": (30, 100), "mnist": (3, 60), "fashion_mnist": (4, 60)}
STUDENT_IMAGES = {"digits": 300, "mnist": 1000, "fashion_mnist": 5000}


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, test = load_splits(options.dataset)
    few = load_student_images(options.dataset)
    if options.quick:
        train, few = train.take(2), few.take(2)
    info = kd.datasets.describe(options.dataset)
    teacher_epochs, student_epochs = options.epochs
    # Soft targets need more epochs than labels, with a high learning rate that decays to zero.
    steps = student_epochs * int(few.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    print(f"1. Train a teacher on {options.dataset}.")
    keras.utils.set_random_seed(options.seed)
    teacher = build_network("teacher", info, filters=(32, 64), units=256, dropout=0.4)
    compile_with_labels(teacher, 1e-3)
    teacher.fit(train, validation_data=validation, epochs=teacher_epochs, verbose=2)

    count = STUDENT_IMAGES[options.dataset]
    print(f"\n2. Train a small student on the labels of {count} images.")
    keras.utils.set_random_seed(options.seed)
    alone = build_network("student_alone", info, filters=(8, 16), units=32)
    compile_with_labels(alone, schedule)
    alone.fit(few, validation_data=validation, epochs=student_epochs, verbose=0)

    print("3. Train the same student with the teacher, on the same images.")
    keras.utils.set_random_seed(options.seed)
    student = build_network("student_distilled", info, filters=(8, 16), units=32)
    distiller = kd.Distiller(student, teacher)
    compile_with_labels(distiller, schedule)
    distiller.fit(few, validation_data=validation, epochs=student_epochs, verbose=0)
    student.save(options.out / "student.keras")

    print("\n4. Export all models and evaluate the files on the test images with LiteRT.")
    models = [(teacher, "float32"), (alone, "float32"), (student, "float32"), (student, "int8")]
    rows = [measure(model, kind, few, test, options.out) for model, kind in models]
    write_results(rows, options.dataset, options.out)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(EPOCHS), default="digits")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, help="of the teacher, of each student")
    parser.add_argument("--quick", action="store_true", help="one epoch of two batches")
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or ((1, 1) if options.quick else EPOCHS[options.dataset])
    return options


def load_splits(name):
    """Return training, validation and test data; TFDS sets have no validation split."""
    if name == "digits":
        return [kd.datasets.load(name, x, 32) for x in ("train", "validation", "test")]
    return [kd.datasets.load(name, x, 128) for x in ("train[:90%]", "train[90%:]", "test")]


def load_student_images(name):
    """Return the first training images, in batches."""
    count = STUDENT_IMAGES[name]
    samples = kd.datasets.load(name, "train", batch_size=None, shuffle=False).take(count).cache()
    return samples.shuffle(count, seed=0).batch(32).prefetch(1)


def build_network(name, info, filters, units, dropout=0.0):
    x = inputs = keras.Input(info.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x) if dropout else x
    return keras.Model(inputs, layers.Dense(info.classes)(x), name=name)


def compile_with_labels(model, learning_rate):
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


if __name__ == "__main__":
    main()
