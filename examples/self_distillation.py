"""Train without a teacher: every form of self-distillation on the same images.

Each form trains the same student for the same number of steps (born-again networks for each
generation), compared with plain training. Takes about a minute on the embedded digits;
`--dataset mnist` and `--dataset fashion_mnist` use 5,000 of their images. The differences are
smaller than those between seeds: docs/self-distillation.md has five seeds. `--quick` only checks
that it runs.
"""

import argparse

import keras
from keras import layers

import keras_kd as kd

IMAGES = {"digits": 1_000, "mnist": 5_000, "fashion_mnist": 5_000}


def main(arguments=None):
    options = parse(arguments)
    name, epochs = options.dataset, options.epochs
    info = kd.datasets.describe(name)
    count = 64 if options.quick else IMAGES[name]
    samples = kd.datasets.load(name, batch_size=None, shuffle=False).take(count).cache()
    train = samples.shuffle(count, seed=0).batch(64)
    test = kd.datasets.load(name, "test")
    steps = epochs * -(-count // 64)

    def build_optimizer():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps))

    def build_student(name="student", seed=0):
        keras.utils.set_random_seed(options.seed + seed)
        return build_network(name, info)

    def fit(model):
        model.compile(build_optimizer(), labels_loss())
        model.fit(train, epochs=epochs, verbose=0)
        return model

    def show(form, *models):
        print(f"{form}: " + ", ".join(f"{accuracy(model, test):.2%}" for model in models))

    show("Plain training", fit(build_student()))

    snapshot = fit(kd.SelfDistiller(build_student(), start=epochs // 2))
    show("Snapshot as teacher, from the middle of the training", snapshot.student)

    average = fit(kd.SelfDistiller(build_student(), decay=0.99, start=1))
    show("Running average as teacher (student, average)", average.student, average.earlier_self)

    exits = fit(kd.DeepSupervision(build_student(), ["block1"]))
    show("Deep supervision of an early exit", exits.student)

    pair = fit(kd.MutualLearning([build_student("one"), build_student("two", seed=1)]))
    show("Mutual learning of two students", *pair.students)

    seeds = iter(range(3))
    generations = kd.born_again(
        lambda: build_student(seed=next(seeds)),
        train,
        generations=3,
        loss=labels_loss(),
        optimizer=build_optimizer(),
        student_loss_weight=1.0,
        epochs=epochs,
        verbose=0,
    )
    show("Born-again networks, three generations", *generations.students)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(IMAGES), default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two epochs of 64 images")
    options = parser.parse_args(arguments)
    options.epochs = 2 if options.quick else options.epochs
    return options


def build_network(name, info):
    x = inputs = keras.Input(info.input_shape)
    for number, width in enumerate((8, 16), 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(name=f"block{number}")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(info.classes)(x), name=name)


def labels_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracy(model, data):
    model.compile(loss=labels_loss(), metrics=["accuracy"])
    return model.evaluate(data, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
