"""A small distiller, for the tests of distillers and of the parts of their step."""

import keras

import keras_kd as kd
from keras_kd.distillers.default_losses import as_losses
from tests import toy


def distiller(student=None, teacher=None, losses=None, rate=0.1, **kwargs):
    """A compiled distiller; unlike in Keras it runs eagerly by default.

    Args:
        student: Defaults to a perceptron with the taps `hidden` and `head`.
        teacher: Defaults to one with other weights.
        losses: Defaults to the loss of the task, with a teacher that teaches from the start.
        rate: The learning rate.
        **kwargs: `eager`, `loss`, `metrics`, `weighted_metrics` and `jit_compile` of `compile`, and
            arguments of `Distiller`.
    """
    compiled = {"loss": toy.sparse_loss(), "metrics": ["accuracy"]}
    compiled["run_eagerly"] = kwargs.pop("eager", True)
    for name in ("loss", "metrics", "weighted_metrics", "jit_compile"):
        if name in kwargs:
            compiled[name] = kwargs.pop(name)
    student = toy.mlp("student") if student is None else student
    teacher = toy.mlp("teacher", units=6, seed=1) if teacher is None else teacher
    model = kd.Distiller(student, teacher, as_losses(losses, student, teacher), **kwargs)
    model.compile(keras.optimizers.SGD(rate), **compiled)
    return model


def three_losses():
    """Soft targets, a hint and a hint on the logits."""
    return [
        kd.losses.SoftTargets(),
        kd.losses.Hint("hidden", "hidden"),
        kd.losses.Hint("head", "head"),
    ]


def tap(model, name, x):
    """The output of a layer of a Functional or Sequential model."""
    return keras.Model(model.inputs[0], model.get_layer(name).output)(x)
