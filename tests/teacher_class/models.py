"""Small teachers and students for the tests of Teacher-Class Networks."""

import keras
import numpy as np
from keras import layers, ops

import keras_kd as kd

#: Chunks of the eight units of `dense_teacher`, out of order.
PERMUTED = [[6, 1, 3], [0, 2, 7], [5, 4]]


def dense_teacher(activation="relu"):
    """Taps: `features` (8 units) and `head`."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation=activation, name="features"),
            layers.Dropout(0.5),
            layers.Dense(4, activation="softmax", name="head"),
        ],
        name="teacher",
    )


def student(size):
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, "relu"), layers.Dense(size)])


def linear_student(size):
    return keras.Sequential([keras.Input((6,)), layers.Dense(size, use_bias=False)])


def stateful_student(size):
    hidden = [layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(size)])


def discriminator(size, activation=None):
    return keras.Sequential([keras.Input((size,)), layers.Dense(1, activation)])


def samples(n=24):
    return np.random.default_rng(0).normal(size=(n, 6)).astype("float32")


def ensemble(students=student, teacher=None, optimizer=None, eager=True, **kwargs):
    """A compiled `TeacherClass`; unlike in Keras it runs eagerly by default."""
    keras.utils.set_random_seed(3)
    kwargs.setdefault("mimic", "output")
    if not isinstance(students, list) and "chunks" not in kwargs:
        kwargs.setdefault("n", 2)
    model = kd.TeacherClass(teacher or dense_teacher(), "features", students, **kwargs)
    model.compile(optimizer or keras.optimizers.SGD(0.1), run_eagerly=eager)
    return model


def values_at(model, layer, x):
    """The output of a layer."""
    return keras.Model(model.inputs, model.get_layer(layer).output)(x).numpy()


def exact_students(teacher, layer, chunks, linear=False):
    """Students that reproduce their chunks exactly, with weights of their own."""
    cut = keras.Model(teacher.inputs, teacher.get_layer(layer).output)
    students = []
    for chunk in chunks:
        copy = keras.models.clone_model(cut)
        copy.set_weights(cut.get_weights())
        if linear:
            copy.get_layer(layer).activation = keras.activations.linear
        inputs = keras.Input(teacher.input_shape[1:])
        students.append(keras.Model(inputs, ops.take(copy(inputs), chunk, axis=-1)))
    return students


def mimicry(model, teacher, x, weights=1.0):
    """The mimicry loss of each student, from its outputs."""
    whole, outputs = values_at(teacher, "features", x), model.predict(x, verbose=0)
    return [
        np.mean(weights * np.mean((whole[:, chunk] - output) ** 2, axis=-1))
        for chunk, output in zip(model.chunks, outputs, strict=True)
    ]
