import pytest

import keras_kd as kd
from tests.callbacks.fit import distiller, fit


@pytest.mark.parametrize(
    ("loss", "path"),
    [("student_loss", "student_loss_weight"), ("soft_targets", "soft_targets.weight")],
)
def test_the_weight_of_a_loss_is_set(loss, path):
    callback = kd.callbacks.LossWeightScheduler(lambda epoch: epoch / 2, loss)
    assert fit(distiller(), callback)[path] == [0.0, 0.5, 1.0]
