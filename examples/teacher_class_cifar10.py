"""Augmented images, pooled features, another problem: the Teacher-Class Network on CIFAR-10.

Images are flipped and shifted anew in each epoch, so the teacher runs beside the students: once for
each batch, whatever their number. The chunks are of units that go together. In the end the class's
representation serves another problem: animal or vehicle, from 500 labelled images. Half an hour on
two cores; `--quick` only shows that it runs.
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

import keras_kd as kd

SHAPE = (32, 32, 3)
ANIMALS = (2, 3, 4, 5, 6, 7)


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    plain = kd.datasets.load("cifar10", "train[:256]" if options.quick else "train")
    test = kd.datasets.load("cifar10", "test[:256]" if options.quick else "test")
    augment = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)]
    )
    train = plain.map(lambda x, y: (augment(x, training=True), y), tf.data.AUTOTUNE)
    for_teacher, for_students, for_tuning = options.epochs

    print("1. The teacher learns from labels.")
    teacher = teacher_model()
    compile_for_labels(teacher, train, for_teacher, rate=3e-3)
    teacher.fit(train, epochs=for_teacher, verbose=2)

    print("\n2. The students learn what the teacher's pooled features say; no labels.")
    students = kd.TeacherClass(
        teacher, "pooled", student_model, n=4, split="correlated", data=plain.take(8)
    )
    students.compile(keras.optimizers.Adam(falling(1e-2, train, for_students)))
    students.fit(train, epochs=for_students, verbose=2)

    print("\n3. One model of them; then it is tuned on labels and the teacher's answers.")
    model = students.assemble(name="class")
    compile_for_labels(model, train, for_tuning, rate=3e-3)
    alone = model.evaluate(test, verbose=0)[1]
    body = students.assemble(head=None)  # The students' own weights: copied before they are tuned.
    representation = keras.models.clone_model(body)
    representation.set_weights(body.get_weights())
    distiller = kd.Distiller(model, teacher)
    compile_for_labels(distiller, train, for_tuning, rate=3e-3)
    distiller.fit(train, epochs=for_tuning, verbose=2)
    model.save(options.out / "class.keras")
    rows = [
        ("teacher", teacher.evaluate(test, verbose=0)[1], teacher),
        ("class, without labels", alone, model),
        ("class, tuned", model.evaluate(test, verbose=0)[1], model),
    ]

    print("\n4. Animal or vehicle? A new head on the representation, and 500 labels.")
    representation.trainable = False
    other = keras.Sequential([representation, layers.Dense(2)], name="animal_or_vehicle")
    few = kd.datasets.load("cifar10", "train[:500]", batch_size=50).map(is_animal)
    compile_for_labels(other, few, 20, rate=1e-2)
    other.fit(few, epochs=20, verbose=0)
    rows.append(("animal or vehicle", other.evaluate(test.map(is_animal), verbose=0)[1], other))
    for name, accuracy, net in rows:
        print(f"{name:<24}{accuracy:>8.2%} of the test images{net.count_params():>12,} parameters")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/teacher_class_cifar10"))
    parser.add_argument("--quick", action="store_true", help="256 images, one epoch")
    options = parser.parse_args()
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else (20, 10, 10))
    return options


def is_animal(image, label):
    return image, tf.cast(tf.reduce_any(label[:, None] == ANIMALS, axis=1), "int32")


def teacher_model():
    x = inputs = keras.Input(SHAPE)
    for filters in (32, 64, 128):
        for strides in (1, 2):
            x = block(x, filters, strides)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.3)(x)), name="teacher")


def student_model(size):
    """A student for a chunk of `size` units; it ends without an activation."""
    x = inputs = keras.Input(SHAPE)
    for filters, strides in ((12, 2), (20, 2), (28, 1), (36, 2)):
        x = block(x, filters, strides)
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))


def block(x, filters, strides):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


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
