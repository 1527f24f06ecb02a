"""A small distiller and its `fit`, for the tests of the callbacks."""

import keras

import keras_kd as kd
from tests import toy


def distiller(losses="soft_targets", eager=True, **kwargs):
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    model = kd.Distiller(student, teacher, losses, **kwargs)
    model.compile(
        keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"], run_eagerly=eager
    )
    return model


def fit(model, *callbacks, epochs=3, **kwargs):
    """The history of a training of two steps per epoch."""
    x, y = toy.vectors(16)
    settings = {"batch_size": 8, "shuffle": False, "epochs": epochs, "verbose": 0, **kwargs}
    return model.fit(x, y, callbacks=list(callbacks), **settings).history
