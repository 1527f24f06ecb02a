"""Teacher-Class Network on CIFAR-10: augmentation, pooled features, transfer to another problem.

Images are flipped and shifted anew in each epoch, so the teacher runs in every step, once for all
students. Each chunk contains correlated units. At the end the students' representation is used for
another problem: animal or vehicle, from 500 labeled images. Takes half an hour on two cores;
`--quick` only checks that it runs.
"""

import keras
import tensorflow as tf
from keras import layers
from teacher_class_training import build_optimizer, compile_model, evaluate, parse, print_rows

import keras_kd as kd

SHAPE = (32, 32, 3)
STUDENTS = 4
EPOCHS = (20, 10, 10)  # Of the teacher, the students and the tuning.
ANIMALS = (2, 3, 4, 5, 6, 7)


def main(arguments=None):
    options = parse(__doc__, __file__, arguments, EPOCHS)
    plain, test = (
        kd.datasets.load("cifar10", f"{split}[:64]" if options.quick else split)
        for split in ("train", "test")
    )
    augment = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)]
    )
    train = plain.map(lambda x, y: (augment(x, training=True), y), tf.data.AUTOTUNE)
    teacher_epochs, student_epochs, tuning_epochs = options.epochs

    print("1. Train the teacher on labels.")
    teacher = build_teacher()
    compile_model(teacher, train, teacher_epochs, rate=3e-3)
    teacher.fit(train, epochs=teacher_epochs, verbose=2)

    print("\n2. Train each student to mimic its chunk of the pooled features, without labels.")
    count = 2 if options.quick else STUDENTS
    students = kd.TeacherClass(
        teacher, "pooled", build_student, n=count, split="correlated", data=plain.take(8)
    )
    students.compile(build_optimizer(1e-2, train, student_epochs))
    students.fit(train, epochs=student_epochs, verbose=2)

    print("\n3. Assemble one model and tune it on labels and the teacher's outputs.")
    model = students.assemble(name="teacher_class_network")
    compile_model(model, train, tuning_epochs, rate=3e-3)
    before_tuning = evaluate(model, test)
    body = students.assemble(head=None)  # Shares the students' weights: copied before the tuning.
    representation = keras.models.clone_model(body)
    representation.set_weights(body.get_weights())
    distiller = kd.Distiller(model, teacher, kd.losses.SoftTargets())
    compile_model(distiller, train, tuning_epochs, rate=3e-3)
    distiller.fit(train, epochs=tuning_epochs, verbose=2)
    model.save(options.out / "model.keras")

    print("\n4. Train a new head on the representation, with 500 labels: animal or vehicle?")
    transfer = train_transfer(representation, *((50, 1) if options.quick else (500, 20)))
    rows = [
        ("teacher", evaluate(teacher, test), teacher),
        ("students, without labels", before_tuning, model),
        ("students, tuned", evaluate(model, test), model),
        ("animal or vehicle", evaluate(transfer, test.map(is_animal)), transfer),
    ]
    print_rows(*rows)


def train_transfer(representation, labels, epochs):
    """Return the representation with a new head that distinguishes animals from vehicles."""
    representation.trainable = False
    model = keras.Sequential([representation, layers.Dense(2)], name="animal_or_vehicle")
    data = kd.datasets.load("cifar10", f"train[:{labels}]", batch_size=50).map(is_animal)
    compile_model(model, data, epochs, rate=1e-2)
    model.fit(data, epochs=epochs, verbose=0)
    return model


def is_animal(image, label):
    return image, tf.cast(tf.reduce_any(label[:, None] == ANIMALS, axis=1), "int32")


def build_teacher():
    x = inputs = keras.Input(SHAPE)
    for filters in (32, 64, 128):
        for strides in (1, 2):
            x = conv_block(x, filters, strides)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.3)(x)), name="teacher")


def build_student(size):
    """Return a student for a chunk of `size` units; its last layer has no activation."""
    x = inputs = keras.Input(SHAPE)
    for filters, strides in ((12, 2), (20, 2), (28, 1), (36, 2)):
        x = conv_block(x, filters, strides)
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))


def conv_block(x, filters, strides):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


if __name__ == "__main__":
    main()
