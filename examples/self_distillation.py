"""No teacher: a student taught by its earlier self, its own end, its likeness or its generations.

The same student is trained on the same images by each form for the same number of steps (each of
the generations), and compared with plain training. Takes about a minute on the embedded digits;
`--dataset mnist` and `--dataset fashion_mnist` use 5,000 of their images. One seed says little of
differences as small as these: docs/self-distillation.md has five.
"""

import argparse

import keras
from keras import layers

import keras_kd as kd

IMAGES = {"digits": 1_000, "mnist": 5_000, "fashion_mnist": 5_000}


def main():
    options = arguments()
    name, epochs = options.dataset, options.epochs
    about = kd.datasets.describe(name)
    samples = kd.datasets.load(name, batch_size=None, shuffle=False).take(IMAGES[name]).cache()
    train = samples.shuffle(IMAGES[name], seed=0).batch(64)
    test = kd.datasets.load(name, "test")
    steps = epochs * -(-IMAGES[name] // 64)

    def optimizer():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps))

    def build(own="student", seed=0):
        keras.utils.set_random_seed(options.seed + seed)
        return network(own, about)

    def trained(model):
        model.compile(optimizer(), loss())
        model.fit(train, epochs=epochs, verbose=0)
        return model

    plain = trained(build())
    print(f"Plain training: {right(plain, test):.2%}")

    snapshot = trained(kd.SelfDistiller(build(), start=epochs // 2))
    print(f"A late snapshot teaches it: {right(snapshot.student, test):.2%}")

    average = trained(kd.SelfDistiller(build(), decay=0.99, start=1))
    print(
        f"Its running average teaches it: {right(average.student, test):.2%} "
        f"(the average itself: {right(average.earlier_self, test):.2%})"
    )

    exits = trained(kd.DeepSupervision(build(), ["block1"]))
    print(f"Its own end teaches an early exit: {right(exits.student, test):.2%}")

    pair = trained(kd.MutualLearning([build("one"), build("two", seed=1)]))
    found = ", ".join(f"{right(student, test):.2%}" for student in pair.students)
    print(f"Two students teach each other: {found}")

    seeds = iter(range(3))
    generations = kd.born_again(
        lambda: build(seed=next(seeds)),
        train,
        generations=3,
        loss=loss(),
        optimizer=optimizer(),
        student_loss_weight=1.0,
        epochs=epochs,
        verbose=0,
    )
    found = ", ".join(f"{right(student, test):.2%}" for student in generations.students)
    print(f"Three generations: {found}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(IMAGES), default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def network(name, about):
    x = inputs = keras.Input(about.input_shape)
    for number, width in enumerate((8, 16), 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(name=f"block{number}")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(about.classes)(x), name=name)


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def right(model, data):
    model.compile(loss=loss(), metrics=["accuracy"])
    return model.evaluate(data, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
