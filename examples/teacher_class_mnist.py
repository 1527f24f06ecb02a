"""Teacher-Class Network on MNIST: four small students replace one teacher.

The teacher is that of the paper's authors, with 2.4 million parameters. Each student learns a
quarter of the teacher's 256 units, without labels. Together with the teacher's own classifier they
are one model of 73,000 parameters, which is tuned on labels and exported to int8. Takes about ten
minutes on two cores; `--quick` only checks that it runs.
"""

import keras
from keras import layers
from teacher_class_training import build_optimizer, compile_model, evaluate, parse, print_rows

import keras_kd as kd

STUDENTS = 4
EPOCHS = (5, 4, 5)  # Of the teacher, the students and the tuning.


def main(arguments=None):
    options = parse(__doc__, __file__, arguments, EPOCHS)
    splits = ("train[:54000]", "train[54000:]", "test")
    if options.quick:
        splits = ("train[:64]", "train[64:128]", "test[:64]")
    train, validation, test = (kd.datasets.load("mnist", split) for split in splits)
    teacher_epochs, student_epochs, tuning_epochs = options.epochs

    print("1. Train the teacher on labels.")
    teacher = build_teacher()
    compile_model(teacher, train, teacher_epochs, rate=1e-3)
    teacher.fit(train, validation_data=validation, epochs=teacher_epochs, verbose=2)

    print("\n2. Train each student to mimic its chunk of the layer 'features', without labels.")
    count = 2 if options.quick else STUDENTS
    students = kd.TeacherClass(teacher, "features", build_student, n=count)
    # Batch normalization permits a high learning rate, which decays to zero.
    students.compile(build_optimizer(1e-2, train, student_epochs))
    students.fit(train, validation_data=validation, epochs=student_epochs, verbose=2)

    print("\n3. Assemble the students and the teacher's classifier to one model.")
    model = students.assemble(name="teacher_class_network")
    compile_model(model, train, tuning_epochs, rate=3e-3)
    before_tuning = evaluate(model, test)

    print("\n4. Tune the whole model on labels and the teacher's outputs.")
    distiller = kd.Distiller(model, teacher, kd.losses.SoftTargets())
    compile_model(distiller, train, tuning_epochs, rate=3e-3)
    distiller.fit(train, validation_data=validation, epochs=tuning_epochs, verbose=2)

    print("\n5. Export the model to int8 and evaluate the file with LiteRT.")
    file = kd.export.to_tflite(model, options.out / "model.tflite", "int8", calibration=train)
    model.save(options.out / "model.keras")
    rows = [
        ("teacher", evaluate(teacher, test), teacher),
        ("students, without labels", before_tuning, model),
        ("students, tuned", evaluate(model, test), model),
        ("students, tuned, int8", kd.export.evaluate(file, test).accuracy, model),
    ]
    print_rows(*rows)
    print(f"{file.path}: {file.size / 1000:.0f} kB")


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
    for filters, kernel, strides in ((10, 5, 2), (20, 3, 2), (28, 3, 1), (32, 3, 2)):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))


if __name__ == "__main__":
    main()
