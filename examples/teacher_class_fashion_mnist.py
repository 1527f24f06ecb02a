"""Eight students, each trained alone and from a file: the Teacher-Class Network on Fashion-MNIST.

The teacher is asked once; what it says is kept on disk. Then each student is trained by itself, as
on a machine of its own that has no teacher, and saved. The class is assembled from the files, and
once more with a student lost. About fifteen minutes on two cores; `--quick` only shows that it
runs.
"""

import argparse
import warnings
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

STUDENTS = 8


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    count = 256 if options.quick else 54_000
    # Single samples in a fixed order: the cache finds what the teacher said by their numbers.
    samples = kd.datasets.load("fashion_mnist", f"train[:{count}]", batch_size=None, shuffle=False)
    train = samples.shuffle(count, seed=options.seed).batch(128)
    test = kd.datasets.load("fashion_mnist", "test[:256]" if options.quick else "test")
    for_teacher, for_students, for_tuning = options.epochs

    print("1. The teacher learns from labels.")
    keras.utils.set_random_seed(options.seed)
    teacher = teacher_model()
    compile_for_labels(teacher, train, for_teacher, rate=1e-3)
    teacher.fit(train, epochs=for_teacher, verbose=2)

    print("\n2. The teacher is asked once: its layer 'features' for each image goes to the disk.")
    folder = options.out / "knowledge"
    cache = kd.KnowledgeCache.build(teacher, samples, folder, taps=["features"])

    print("\n3. Each student learns its chunk alone, from the disk, and becomes a file.")
    files = []
    students = 2 if options.quick else STUDENTS
    for number in range(students):
        keras.utils.set_random_seed(options.seed)  # The same for all, as in a joint `fit`.
        alone = kd.TeacherClass(
            cache.teachers[0], "features", student_model, n=students, only=[number]
        )
        alone.compile(keras.optimizers.Adam(falling(1e-2, train, for_students)))
        shuffled = kd.keyed(samples).shuffle(count, seed=options.seed).batch(128)
        alone.fit(cache.join(shuffled, verify=number == 0), epochs=for_students, verbose=2)
        files.append(options.out / f"student_{number}.keras")
        alone.students[0].save(files[-1])

    print("\n4. The files become one model; then one of them is lost.")
    found = {"teacher": teacher}
    found["class"] = kd.TeacherClass.assemble_from(teacher, "features", files)
    with warnings.catch_warnings():  # That a student is lost is reported by a warning.
        warnings.simplefilter("ignore")
        found["class, its last one lost"] = kd.TeacherClass.assemble_from(
            teacher, "features", [*files[:-1], None], data=train.take(10)
        )
    for model in found.values():
        compile_for_labels(model, train, for_tuning, rate=3e-3)
    scores = {name: model.evaluate(test, verbose=0)[1] for name, model in found.items()}

    print("\n5. The class is tuned: labels, and what the teacher answers.")
    distiller = kd.Distiller(found["class"], teacher)
    compile_for_labels(distiller, train, for_tuning, rate=3e-3)
    distiller.fit(train, epochs=for_tuning, verbose=2)
    found["class, tuned"] = found["class"]
    scores["class, tuned"] = found["class"].evaluate(test, verbose=0)[1]
    found["class"].save(options.out / "class.keras")
    for name, accuracy in scores.items():
        parameters = found[name].count_params()
        print(f"{name:<26}{accuracy:>8.2%} of the test images{parameters:>12,} parameters")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/teacher_class_fashion_mnist"))
    parser.add_argument("--quick", action="store_true", help="256 images, one epoch")
    options = parser.parse_args()
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else (6, 4, 5))
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
    for filters, kernel, strides in ((8, 5, 2), (16, 3, 2), (20, 3, 1), (24, 3, 2)):
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
