"""`check_loss` passes our own losses."""

import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.losses.distillation_loss import DistillationLoss
from tests.losses.test_every_loss import EVERY

#: Checks that do not apply.
SKIP = {
    "taid": ["gradient"],  # The student's part of the target is constant.
    # The estimate of Z is constant. Called directly it takes embeddings; `compare` rejects masks.
    "contrastive_representation": ["gradient", "masks"],
    "dist": ["replicas"],
    "multi_temperature": ["replicas"],
    "pearson_features": ["replicas"],
}


@pytest.mark.parametrize("name", EVERY)
def test_our_own_losses_pass(name):
    kd.testing.check_loss(EVERY[name](), skip=SKIP.get(name, ()))


class Mean(DistillationLoss):
    """A correct loss."""

    def call(self, teacher, student, labels=None):
        return ops.mean(ops.abs(teacher - student), axis=-1)


def test_a_correct_loss_passes_with_taps_of_its_own():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 4, 3, 3, 2))
    kd.testing.check_loss(Mean())
    kd.testing.check_loss(Mean(), teacher, student, rng.integers(0, 2, (4, 3, 3)))


def test_wrong_arguments_are_rejected():
    with pytest.raises(TypeError, match=r"must be a kd.losses.DistillationLoss.*of type type"):
        kd.testing.check_loss(Mean)
    with pytest.raises(ValueError, match=r"`skip` must have names of .*Received: \['all'\]"):
        kd.testing.check_loss(Mean(), skip=["all"])
