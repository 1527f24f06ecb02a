import keras
import numpy as np
import pytest

import keras_kd as kd
from tests.callbacks.fit import distiller, fit


@pytest.mark.slow
def test_the_compiled_step_uses_the_value_of_the_epoch():
    callback = kd.callbacks.HyperparameterScheduler("soft_targets.temperature", lambda e: 4.0 - e)
    model = distiller(eager=False)
    assert fit(model, callback)["soft_targets.temperature"] == [4.0, 3.0, 2.0]
    by_hand = distiller(eager=False)
    for epoch in range(3):
        by_hand.set_hyperparameter("soft_targets.temperature", 4.0 - epoch)
        fit(by_hand, epochs=1)
    for one, other in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_schedule_may_use_the_current_value():
    path = "soft_targets.weight"
    callback = kd.callbacks.HyperparameterScheduler(path, lambda epoch, value: value / 2)
    assert fit(distiller(), callback)[path] == [0.5, 0.25, 0.125]


@pytest.mark.slow
def test_a_schedule_continues_after_a_resume(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*more):
        model = distiller(noise=kd.noise.LogitNoise(1.0, seed=1))
        schedules = (
            kd.callbacks.TemperatureScheduler(lambda epoch: 5.0 - epoch),
            kd.callbacks.NoiseScheduler(keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5)),
        )
        return model, fit(model, *more, *schedules, epochs=4, batch_size=16)

    uninterrupted, expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    resumed, history = run(keras.callbacks.BackupAndRestore(tmp_path))
    for name in ("soft_targets.temperature", "noise.stddev"):
        assert history[name] == expected[name][2:]
    for one, other in zip(uninterrupted.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("soft_target.temperature", 1.0, "no hyperparameter 'soft_target.temperature'. Available"),
        ("soft_targets.temperature", 0.0, "`temperature`.*greater than 0"),
    ],
)
def test_an_unknown_path_and_a_value_out_of_range_are_rejected(path, value, message):
    with pytest.raises(ValueError, match=message):
        fit(distiller(), kd.callbacks.HyperparameterScheduler(path, lambda epoch: value))


def test_a_schedule_must_be_callable():
    with pytest.raises(TypeError, match="HyperparameterScheduler: `schedule` must be a function"):
        kd.callbacks.HyperparameterScheduler("student_loss_weight", 0.5)
