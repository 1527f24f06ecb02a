"""Many images, few labels: what a teacher, and what its pseudo-labels, make of the rest.

A teacher learns from all labels; for the student only a few are left: 100 of the embedded digits,
500 for `--dataset mnist` and `--dataset fashion_mnist`. It is trained on these alone, on everything
with the teacher, with its images shifted besides, and on the teacher's pseudo-labels. Takes about a
minute on the digits.
"""

import argparse

import keras
from keras import layers

import keras_kd as kd

LABELS = {"digits": 100, "mnist": 500, "fashion_mnist": 500}
IMAGES = {"digits": 1_000, "mnist": 10_000, "fashion_mnist": 10_000}


def main():
    options = arguments()
    name, steps = options.dataset, options.steps
    about = kd.datasets.describe(name)
    train, test = kd.datasets.load(name, seed=1), kd.datasets.load(name, "test")
    labeled, unlabeled = split(name)
    mixed = kd.mix_unlabeled(labeled, unlabeled, ratio=3)

    keras.utils.set_random_seed(options.seed)
    teacher = network("teacher", about, (32, 64), 256)
    teacher.compile("adam", loss())
    epochs = max(1, steps // len(train))
    teacher.fit(train, epochs=epochs, verbose=0)
    print(f"The teacher, all labels: {right(teacher, test):.2%}")

    def student():
        keras.utils.set_random_seed(options.seed)
        return network("student", about, (8, 16), 32)

    def trained(model, data):
        schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
        model.compile(keras.optimizers.Adam(schedule), loss())
        model.fit(data.repeat(), steps_per_epoch=steps, epochs=1, verbose=0)

    few = LABELS[name]
    alone = student()
    trained(alone, labeled)
    print(f"The student, {few} labels alone: {right(alone, test):.2%}")

    distiller = kd.Distiller(student(), teacher)
    trained(distiller, mixed)
    print(f"Everything, the teacher beside them: {right(distiller.student, test):.2%}")

    shift = layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=options.seed)
    distiller = kd.Distiller(student(), teacher, augment=shift)
    trained(distiller, mixed)
    print(f"The same, the student's images shifted: {right(distiller.student, test):.2%}")

    pseudo = kd.pseudo_label(teacher, unlabeled, threshold=0.9)
    print(f"Pseudo-labels: {pseudo}")
    taught = student()
    trained(
        taught, labeled.unbatch().concatenate(pseudo.dataset.unbatch()).shuffle(9_999).batch(128)
    )
    print(f"Everything, with pseudo-labels in place of the teacher: {right(taught, test):.2%}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(LABELS), default="digits")
    parser.add_argument("--steps", type=int, default=600, help="of training, for each model")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def split(name):
    """The first few images with their labels; the images behind them, whose labels are not used."""
    samples = kd.datasets.load(name, batch_size=None, shuffle=False).take(IMAGES[name]).cache()
    few = samples.take(LABELS[name]).shuffle(LABELS[name], seed=0)
    rest = samples.skip(LABELS[name]).shuffle(IMAGES[name], seed=0)
    return few.batch(32), rest.batch(96)


def network(name, about, filters, units):
    x = inputs = keras.Input(about.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(about.classes)(x), name=name)


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def right(model, data):
    model.compile(loss=loss(), metrics=["accuracy"])
    return model.evaluate(data, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
