"""Each check names what is wrong with a loss."""

import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.losses.distillation_loss import DistillationLoss


class Mean(DistillationLoss):
    """A correct loss; each of the others has a mistake."""

    def call(self, teacher, student, labels=None):
        return ops.mean(ops.abs(teacher - student), axis=-1)


class OneValue(Mean):
    def call(self, teacher, student, labels=None):
        return ops.mean(teacher - student)


class WrongType(Mean):
    def call(self, teacher, student, labels=None):
        return ops.cast(super().call(teacher, student), "float32")


class NotFinite(Mean):
    def call(self, teacher, student, labels=None):
        return ops.sqrt(ops.sum(ops.square(teacher - student), axis=-1))


class TwoSamples(Mean):
    def call(self, teacher, student, labels=None):
        others = ops.cast(ops.shape(student)[0] - 1, student.dtype)
        return super().call(teacher, student) / others


class WrongGradient(Mean):
    def call(self, teacher, student, labels=None):
        return ops.mean(ops.stop_gradient(student) * (student - teacher), axis=-1)


class NoGradient(Mean):
    def call(self, teacher, student, labels=None):
        return super().call(teacher, ops.stop_gradient(student))


class ByPlace(Mean):
    def call(self, teacher, student, labels=None):
        values = super().call(teacher, student)
        return values * ops.cast(ops.arange(ops.shape(values)[0]) + 1, values.dtype)


class OverTheBatch(Mean):
    def call(self, teacher, student, labels=None):
        return super().call(teacher, student - ops.mean(student, axis=0, keepdims=True))


class OverTheSteps(Mean):
    def call(self, teacher, student, labels=None):
        if len(student.shape) > 2:
            student = student - ops.mean(student, axis=1, keepdims=True)
        return super().call(teacher, student)


class Indexing(Mean):
    def call(self, teacher, student, labels=None):
        values = super().call(teacher, student)
        return values if labels is None else values * ops.log(ops.cast(labels, values.dtype) + 1)


class Forgetful(Mean):
    def __init__(self, power=2.0, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def call(self, teacher, student, labels=None):
        return super().call(teacher, student) ** self.power


class NeedsMore(Mean):
    def __init__(self, power):
        super().__init__()

    def get_config(self):
        return {"power": np.ones(2)}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (OneValue(), r"'shape': ValueError: OneValue: `call` must return one value per sample"),
        (WrongType(), r"'dtype': taps of float64 have values of float32"),
        (NotFinite(), r"'finite': equal taps: the gradients are not finite"),
        (TwoSamples(), r"'single_sample': a batch of one: the values are not finite"),
        (WrongGradient(), r"'gradient': the gradient along a direction is .*finite differences"),
        (NoGradient(), r"'gradient': the student has no gradient"),
        (ByPlace(), r"'permutation': permuted samples have other values"),
        (OverTheBatch(), r"'replicas': values depend on the other samples.*relates_samples"),
        (OverTheSteps(), r"'masks': the content of masked steps changes the values"),
        (Indexing(), r"'missing_labels': missing labels: the values are not finite"),
        (Forgetful(3.0), r"'serialization': the loss that was made from get_config has other val"),
        (NeedsMore(2.0), r"'serialization': get_config returns what JSON cannot hold"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, DistillationLoss) else "",
)
def test_a_mistake_is_named(loss, message):
    with pytest.raises(AssertionError, match=f"{type(loss).__name__} fails the check {message}"):
        kd.testing.check_loss(loss)
    name = message.split("'")[1]
    if name in ("gradient", "replicas", "masks", "missing_labels", "serialization"):
        kd.testing.check_loss(loss, skip=[name])  # Nothing else is wrong.


def test_a_loss_that_needs_labels_must_demand_them():
    class Lenient(Mean):
        needs_labels = True

        def __call__(self, teacher, student, labels=None):
            labels = np.zeros(len(student)) if labels is None else labels
            return super().__call__(teacher, student, labels)

    with pytest.raises(AssertionError, match="labels=None raises no ValueError"):
        kd.testing.check_loss(Lenient())
