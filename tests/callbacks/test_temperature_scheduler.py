import numpy as np
import pytest

import keras_kd as kd
from tests import toy
from tests.callbacks.fit import distiller, fit

NAMES = ("soft_targets.temperature", "decoupled_kd.temperature")


@pytest.mark.parametrize(
    ("loss", "expected"), [(None, ([1, 2], [1, 2])), ("decoupled_kd", ([2.5, 2.5], [1, 2]))]
)
def test_all_temperatures_or_one_are_set(loss, expected):
    model = distiller([kd.losses.SoftTargets(2.5), kd.losses.DecoupledKD()])
    values = {name: [] for name in NAMES}

    class Record(kd.callbacks.TemperatureScheduler):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            for name in NAMES:
                values[name].append(float(self.model.hyperparameters[name]))

    history = fit(model, Record(lambda epoch: 1.0 + epoch, loss), epochs=2)
    assert tuple(values.values()) == expected
    assert history["decoupled_kd.temperature"] == [1, 2]


@pytest.mark.parametrize("name", [None, "logit_standardization"])
def test_the_temperature_within_another_loss_is_set(name):
    loss = kd.losses.LogitStandardization(kd.losses.SoftTargets(4.0))
    model = distiller([kd.losses.SoftTargets(3.0), loss])
    schedule = kd.callbacks.TemperatureScheduler(lambda epoch: 1.0 + epoch, name)
    history = fit(model, schedule, epochs=2)
    assert history["logit_standardization.temperature"] == [1, 2]
    assert float(loss.loss.temperature) == 2
    assert float(model.hyperparameters["soft_targets.temperature"]) == (3 if name else 2)


def test_the_values_are_those_of_the_scheduled_temperature_within():
    wrap, soft = kd.losses.LogitStandardization, kd.losses.SoftTargets
    model = distiller(wrap(soft(4.0)), eager=False)
    (x, _), student, teacher = toy.vectors(16), model.student, model.teachers[0].model
    expected = np.mean(wrap(soft(1.0))(teacher(x[:8]), student(x[:8])))
    schedule = kd.callbacks.TemperatureScheduler(lambda epoch: 1.0)
    history = fit(model, schedule, epochs=1, steps_per_epoch=1)
    np.testing.assert_allclose(history["logit_standardization"], [expected], rtol=1e-5)


def test_a_distiller_without_a_temperature_is_rejected():
    with pytest.raises(ValueError, match=r"no hyperparameter '\*.temperature'"):
        fit(distiller("outputs_mse"), kd.callbacks.TemperatureScheduler(lambda epoch: 1.0))
