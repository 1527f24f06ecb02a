import pytest

import keras_kd as kd
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


def test_a_distiller_without_a_temperature_is_rejected():
    with pytest.raises(ValueError, match=r"no hyperparameter '\*.temperature'"):
        fit(distiller("logits_mse"), kd.callbacks.TemperatureScheduler(lambda epoch: 1.0))
