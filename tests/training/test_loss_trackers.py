"""The running means of the losses."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.loss_trackers import LossTrackers, batch_size
from tests import toy
from tests.distillers.models import distiller


def test_means_are_weighted_by_the_size_of_the_batch():
    trackers = LossTrackers(["loss", "hint"])
    trackers.update({"loss": (1.0, 16)})
    trackers.update({"hint": (np.float64(3.0), np.int32(8)), "loss": (4.0, 8)})
    assert trackers.names == ["loss", "hint"]
    assert trackers.results(["hint", "loss"]) == {"hint": 3.0, "loss": 2.0}
    (metric,) = trackers.metrics
    metric.reset_state()
    assert trackers.results(["loss"]) == {"loss": 0.0}


def test_the_logs_of_a_step_have_the_chosen_losses():
    trackers = LossTrackers(["loss", "hint"])
    logs = {"loss": 1.0, "hint": 0.0, "accuracy": 0.5}
    assert trackers.select(logs, ["loss"]) == {"loss": 1.0, "accuracy": 0.5}


def test_a_model_does_not_save_them():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.trackers = LossTrackers(["loss"])

    assert Model().variables == []


@pytest.mark.parametrize(
    "x", [np.ones((3, 2)), {"a": None, "b": np.ones((3, 1))}, [np.ones((3, 2)), np.ones((3, 4))]]
)
def test_the_batch_size_is_that_of_the_first_input(x):
    assert int(batch_size(x)) == 3


def test_the_history_weights_a_smaller_last_batch_by_its_size():
    (x, y), model = toy.vectors(20), distiller(rate=0.0)
    logs = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
    soft = np.mean(kd.losses.SoftTargets()(model.teachers[0].model(x), model.student(x)))
    hard = toy.sparse_loss()(y, model.student(x))
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["student_loss"][0], hard, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"][0], 0.5 * hard + soft, rtol=1e-5)
