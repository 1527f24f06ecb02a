"""Hyperparameters that change while training: seen by the compiled step, kept by a resume."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy


def distiller(losses=None, **kwargs):
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), losses, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
    return model


def fit(model, *callbacks, epochs=3, **kwargs):
    x, y = toy.data()
    return model.fit(
        x,
        y,
        batch_size=8,
        shuffle=False,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    ).history


def test_a_schedule_over_epochs_is_followed_and_logged():
    callback = kd.callbacks.HyperparameterScheduler("soft_targets.temperature", lambda e: 4.0 - e)
    model = distiller()
    assert fit(model, callback)["soft_targets.temperature"] == [4.0, 3.0, 2.0]
    by_hand = distiller()
    for epoch in range(3):
        by_hand.set_hyperparameter("soft_targets.temperature", 4.0 - epoch)
        fit(by_hand, epochs=1)
    for one, other in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_schedule_may_use_the_present_value():
    callback = kd.callbacks.LossWeightScheduler(lambda epoch, value: value / 2, "soft_targets")
    assert fit(distiller(), callback)["soft_targets.weight"] == [0.5, 0.25, 0.125]


def test_a_schedule_over_steps_is_read_at_each_step():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(self.model.hyperparameters["noise.stddev"]))

    steps = keras.optimizers.schedules.PolynomialDecay(1.0, 8, end_learning_rate=0.0)
    model = distiller(noise=kd.noise.LogitNoise(1.0))
    fit(model, kd.callbacks.NoiseScheduler(steps), Watch(), epochs=2)
    np.testing.assert_allclose(seen, [1 - step / 8 for step in range(8)], rtol=1e-6)


def test_the_temperature_of_all_losses_or_of_one():
    losses = [kd.losses.SoftTargets(), kd.losses.DecoupledKD()]
    history = fit(distiller(losses), kd.callbacks.TemperatureScheduler(lambda e: 1.0 + e))
    assert history["soft_targets.temperature"] == history["decoupled_kd.temperature"] == [1, 2, 3]
    losses = [kd.losses.SoftTargets(2.5), kd.losses.DecoupledKD()]
    model = distiller(losses)
    fit(model, kd.callbacks.TemperatureScheduler(lambda e: 1.0 + e, loss="decoupled_kd"))
    assert float(model.hyperparameters["soft_targets.temperature"]) == 2.5


def test_the_weight_of_the_labels():
    callback = kd.callbacks.LossWeightScheduler(lambda epoch: epoch / 2, "student_loss")
    assert fit(distiller(), callback)["student_loss_weight"] == [0.0, 0.5, 1.0]


def test_after_a_resume_the_schedule_goes_on_where_it_was(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*more):
        model = distiller(noise=kd.noise.LogitNoise(1.0, seed=1))
        schedules = (
            kd.callbacks.TemperatureScheduler(lambda epoch: 5.0 - epoch),
            kd.callbacks.NoiseScheduler(keras.optimizers.schedules.ExponentialDecay(1.0, 4, 0.5)),
        )
        return model, fit(model, *more, *schedules, epochs=4)

    whole, expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    resumed, history = run(keras.callbacks.BackupAndRestore(tmp_path))
    for name in ("soft_targets.temperature", "noise.stddev"):
        assert history[name] == expected[name][2:]
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_adaptive_noise_is_lowered_when_the_metric_stalls():
    x, y = toy.data()
    model = distiller(noise=kd.noise.LogitNoise(1.0))
    model.optimizer.learning_rate = 0.0  # Nothing can get better.
    model.student.get_layer("norm").trainable = False
    callback = kd.callbacks.AdaptiveNoise(factor=0.5, patience=2)
    history = fit(model, callback, epochs=6, validation_data=(x, y))
    assert history["noise.stddev"] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        (
            kd.callbacks.HyperparameterScheduler("soft_target.temperature", lambda e: 1.0),
            "no hyperparameter 'soft_target.temperature'. It has: .*soft_targets.temperature",
        ),
        (kd.callbacks.NoiseScheduler(lambda e: 1.0), "no hyperparameter 'noise.stddev'"),
        (kd.callbacks.AdaptiveNoise(), "the distiller has no noise"),
        (kd.callbacks.TemperatureScheduler(lambda e: 0.0), "`temperature`.*greater than 0"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(callback, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(distiller(), callback)


def test_a_schedule_must_be_callable():
    with pytest.raises(TypeError, match="`schedule` must be a function"):
        kd.callbacks.NoiseScheduler(0.5)
