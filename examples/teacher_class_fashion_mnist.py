"""Teacher-Class Network on Fashion-MNIST: eight students, each trained alone from a cache.

The teacher runs once, and its outputs are stored. Then each student is trained separately, as on
its own machine without the teacher, and saved. The network is assembled from the files, and once
more with a student missing. Takes about fifteen minutes on two cores; `--quick` only checks that it
runs.
"""

import warnings

import keras
from keras import layers
from teacher_class_training import build_optimizer, compile_model, evaluate, parse, print_rows

import keras_kd as kd

STUDENTS = 8
EPOCHS = (6, 4, 5)  # Of the teacher, the students and the tuning.


def main(arguments=None):
    options = parse(__doc__, __file__, arguments, EPOCHS)
    count = 64 if options.quick else 54_000
    # Single samples in a fixed order: the cache finds the teacher's outputs by sample number.
    samples = kd.datasets.load("fashion_mnist", f"train[:{count}]", batch_size=None, shuffle=False)
    train = samples.shuffle(count, seed=options.seed).batch(128)
    test = kd.datasets.load("fashion_mnist", "test[:64]" if options.quick else "test")
    teacher_epochs, student_epochs, tuning_epochs = options.epochs

    print("1. Train the teacher on labels.")
    teacher = build_teacher()
    compile_model(teacher, train, teacher_epochs, rate=1e-3)
    teacher.fit(train, epochs=teacher_epochs, verbose=2)

    print("\n2. Run the teacher once and store its layer 'features' for each image.")
    cache = kd.KnowledgeCache.build(teacher, samples, options.out / "cache", taps=["features"])

    print("\n3. Train each student alone on its chunk, from the cache, and save it.")
    students = 2 if options.quick else STUDENTS
    paths = [options.out / f"student_{number}.keras" for number in range(students)]
    for number, path in enumerate(paths):
        # The same seed and order for all, as in a joint `fit`.
        keras.utils.set_random_seed(options.seed)
        shuffled = kd.keyed(samples).shuffle(count, seed=options.seed).batch(128)
        joined = cache.join(shuffled, verify=number == 0)
        optimizer = build_optimizer(1e-2, train, student_epochs)
        train_alone(number, students, cache.teachers[0], joined, optimizer, student_epochs, path)

    print("\n4. Assemble the files to one model, and once more without the last student.")
    model = kd.TeacherClass.assemble_from(teacher, "features", paths)
    with warnings.catch_warnings():  # A warning reports the missing student.
        warnings.simplefilter("ignore")
        incomplete = kd.TeacherClass.assemble_from(
            teacher, "features", [*paths[:-1], None], data=train.take(10)
        )
    for net in (teacher, model, incomplete):
        compile_model(net, train, tuning_epochs, rate=3e-3)
    rows = [
        ("teacher", evaluate(teacher, test), teacher),
        ("students, without labels", evaluate(model, test), model),
        ("the same, one missing", evaluate(incomplete, test), incomplete),
    ]

    print("\n5. Tune the whole model on labels and the teacher's outputs.")
    distiller = kd.Distiller(model, teacher, kd.losses.SoftTargets())
    compile_model(distiller, train, tuning_epochs, rate=3e-3)
    distiller.fit(train, epochs=tuning_epochs, verbose=2)
    model.save(options.out / "model.keras")
    rows.append(("students, tuned", evaluate(model, test), model))
    print_rows(*rows)


def train_alone(number, students, teacher, data, optimizer, epochs, path):
    """Train one of the students on its chunk and save it."""
    model = kd.TeacherClass(teacher, "features", build_student, n=students, only=[number])
    model.compile(optimizer)
    model.fit(data, epochs=epochs, verbose=2)
    model.students[0].save(path)


def build_teacher():
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


def build_student(size):
    """Return a student for a chunk of `size` units; its last layer has no activation."""
    x = inputs = keras.Input((28, 28, 1))
    for filters, kernel, strides in ((8, 5, 2), (16, 3, 2), (20, 3, 1), (24, 3, 2)):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))


if __name__ == "__main__":
    main()
