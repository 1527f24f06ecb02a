import pytest

import keras_kd as kd
from tests import toy
from tests.callbacks.fit import distiller, fit


@pytest.mark.slow
def test_the_noise_decreases_when_the_metric_stops_improving():
    model = distiller(noise=kd.noise.LogitNoise(1.0))
    model.optimizer.learning_rate = 0.0  # The accuracy stays the same.
    callback = kd.callbacks.AdaptiveNoise(factor=0.5, patience=2)
    history = fit(model, callback, epochs=6, batch_size=16, validation_data=toy.vectors(16))
    assert history["noise.stddev"] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("mode", "expected"), [("max", [1.0, 1.0, 1.0]), ("min", [1.0, 0.5, 0.25])]
)
def test_an_improvement_depends_on_the_mode(mode, expected):
    class Improve(kd.callbacks.AdaptiveNoise):
        def on_epoch_end(self, epoch, logs=None):
            logs["quality"] = epoch
            super().on_epoch_end(epoch, logs)

    model = distiller(noise=kd.noise.LogitNoise(1.0))
    history = fit(model, Improve("quality", patience=1, mode=mode), batch_size=16)
    assert history["noise.stddev"] == expected


def test_a_distiller_without_noise_is_rejected():
    with pytest.raises(ValueError, match="the distiller has no noise"):
        fit(distiller(), kd.callbacks.AdaptiveNoise())


def test_a_metric_that_is_never_logged_is_rejected():
    model = distiller(noise=kd.noise.LogitNoise(1.0))
    with pytest.raises(ValueError, match="'val_accuracy' was never logged.*Pass validation_data"):
        fit(model, kd.callbacks.AdaptiveNoise(), epochs=1)


@pytest.mark.parametrize("arguments", [{"factor": 1.0}, {"patience": 0}, {"mode": "auto"}])
def test_arguments_out_of_range_are_rejected(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"AdaptiveNoise: `{name}` must be"):
        kd.callbacks.AdaptiveNoise(**arguments)
