"""Distill with few labels: use a teacher, or its pseudo-labels, for unlabeled images.

The teacher is trained on all labels. The student has few: 100 of the embedded digits, 500 for
`--dataset mnist` and `--dataset fashion_mnist`. It is trained on the labeled images alone, on all
images with the teacher, the same with shifted student images, and on the teacher's pseudo-labels.
Takes about a minute on the digits; `--quick` only checks that it runs.
"""

import argparse

import keras
from keras import layers

import keras_kd as kd

LABELS = {"digits": 100, "mnist": 500, "fashion_mnist": 500}
IMAGES = {"digits": 1_000, "mnist": 10_000, "fashion_mnist": 10_000}


def main(arguments=None):
    options = parse(arguments)
    name, steps = options.dataset, options.steps
    info = kd.datasets.describe(name)
    train, test = kd.datasets.load(name, seed=1), kd.datasets.load(name, "test")
    labeled, unlabeled = split(name)
    mixed = kd.mix_unlabeled(labeled, unlabeled, ratio=3)

    keras.utils.set_random_seed(options.seed)
    teacher = build_network("teacher", info, (32, 64), 256)
    teacher.compile("adam", labels_loss())
    teacher.fit(train, epochs=max(1, steps // len(train)), verbose=0)
    print(f"Teacher, all labels: {accuracy(teacher, test):.2%}")

    def build_student():
        keras.utils.set_random_seed(options.seed)
        return build_network("student", info, (8, 16), 32)

    def fit(model, data):
        schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
        model.compile(keras.optimizers.Adam(schedule), labels_loss())
        model.fit(data.repeat(), steps_per_epoch=steps, epochs=1, verbose=0)

    student = build_student()
    fit(student, labeled)
    print(f"Student, {LABELS[name]} labels alone: {accuracy(student, test):.2%}")

    student = build_student()
    fit(kd.Distiller(student, teacher), mixed)
    print(f"Student, all images with the teacher: {accuracy(student, test):.2%}")

    student = build_student()
    shift = layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=options.seed)
    fit(kd.Distiller(student, teacher, augment=shift, same_view=False), mixed)
    print(f"Student, the same with shifted images: {accuracy(student, test):.2%}")

    student = build_student()
    pseudo = kd.pseudo_label(teacher, unlabeled, threshold=0.1 if options.quick else 0.9)
    print(f"Pseudo-labels: {pseudo}")
    both = labeled.unbatch().concatenate(pseudo.dataset.unbatch())
    fit(student, both.shuffle(9_999).batch(128))
    print(f"Student, labels and pseudo-labels: {accuracy(student, test):.2%}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(LABELS), default="digits")
    parser.add_argument("--steps", type=int, default=600, help="training steps of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 steps")
    options = parser.parse_args(arguments)
    options.steps = 3 if options.quick else options.steps
    return options


def split(name):
    """Return the first images with their labels, and the others, whose labels are not used."""
    samples = kd.datasets.load(name, batch_size=None, shuffle=False).take(IMAGES[name]).cache()
    labeled = samples.take(LABELS[name]).shuffle(LABELS[name], seed=0)
    unlabeled = samples.skip(LABELS[name]).shuffle(IMAGES[name], seed=0)
    return labeled.batch(32), unlabeled.batch(96)


def build_network(name, info, filters, units):
    x = inputs = keras.Input(info.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(info.classes)(x), name=name)


def labels_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracy(model, data):
    model.compile(loss=labels_loss(), metrics=["accuracy"])
    return model.evaluate(data, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
