"""`fit`: its arguments, the position, the owner of the step, and skipped batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.distillers.fit import FitRun, check_ragged, fit_arguments, list_callbacks, run_fit
from keras_kd.training import backend
from tests import toy
from tests.distillers.bad_batches import (
    MARK,
    arrays,
    assert_equal,
    batches,
    failing_teacher,
    with_bad,
)
from tests.distillers.bad_batches import distiller as fragile
from tests.distillers.models import distiller

# Arguments.


def test_arguments_by_position_are_found_by_name():
    assert fit_arguments(1, 2, 8, epochs=3) == {"x": 1, "y": 2, "batch_size": 8, "epochs": 3}
    assert fit_arguments() == {}


def test_callbacks_become_a_list():
    one = keras.callbacks.Callback()
    assert list_callbacks(None) == []
    assert list_callbacks(one) == list_callbacks((one,)) == [one]


def test_fit_takes_its_arguments_in_the_order_of_keras():
    (x, y), model = toy.vectors(), distiller()
    history = model.fit(x, y, 8, 2, 0)
    assert len(history.history["loss"]) == 2
    assert int(model.optimizer.iterations) == 8


def received(**given):
    """The arguments that the `fit` of Keras receives."""
    model, found = distiller(), {}

    def fit(**arguments):
        found.update(arguments)
        return "history"

    assert run_fit(model, fit, given) == "history"
    return found


def test_data_sets_are_trained_on_without_autotuning():
    found = received(x=batches(), validation_data=batches())
    assert found["x"].options().autotune.enabled is False
    assert found["validation_data"].options().autotune.enabled is False


def test_arrays_are_passed_unchanged():
    x, y = toy.vectors()
    found = received(x=x, y=y, validation_data=(x, y))
    assert found["x"] is x
    assert found["validation_data"][0] is x


def test_the_owner_of_the_step_is_the_first_callback():
    mine = keras.callbacks.Callback()
    first, second = received(x=batches(), callbacks=mine)["callbacks"]
    assert isinstance(first, FitRun)
    assert second is mine


# The step.


@pytest.mark.parametrize(
    ("data", "metrics", "times"),
    # The shape of the labels, which a metric needs, is known only from a generator's first batch.
    [
        *(("arrays", ["accuracy"], 1), ("dataset", ["accuracy"], 1)),
        *(("generator", None, 1), ("generator", ["accuracy"], 2)),
    ],
)
def test_the_step_is_traced_once(data, metrics, times):
    (x, y), traced = toy.vectors(), []

    class Traced(kd.Distiller):
        def train_step(self, data):
            traced.append(data)
            return super().train_step(data)

    model = Traced(toy.mlp("student"), toy.mlp("teacher", seed=1))
    model.compile("sgd", toy.sparse_loss(), metrics=metrics)
    given = {
        "arrays": (x, y, 8),
        "dataset": (tf.data.Dataset.from_tensor_slices((x, y)).batch(8, drop_remainder=True),),
        "generator": (((x[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8)),),
    }
    model.fit(*given[data], verbose=0)
    assert len(traced) == times


def test_the_model_owns_its_step_again_after_an_error():
    x, y = toy.vectors()
    model = distiller()
    with pytest.raises(ValueError, match="inputs"):
        model.fit(x * np.nan, y, verbose=0)
    assert model.step_owner is None
    assert np.isfinite(model.train_on_batch(x, y)).all()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, "in batch 3 of epoch 2"), (4, "in one of the batches 3 to 6 of epoch 2")],
)
def test_positions_count_from_one(steps, expected):
    model = keras.Sequential()
    model.compile(steps_per_execution=steps)
    run = FitRun(model)
    run.on_epoch_begin(1)
    run.on_train_batch_begin(2)
    assert run.position() == expected


# Data sets that fail.


@pytest.fixture(scope="module")
def after_two_batches():
    model = fragile()
    model.fit(batches().take(2), verbose=0)
    return model.get_weights()


def generated(third):
    """A data set from a generator that yields two batches and then something else."""
    x, y, weights = arrays()

    def generate():
        yield from [(x[:8], y[:8], weights[:8]), (x[8:16], y[8:16], weights[8:16])]
        yield third()

    spec = tuple(tf.TensorSpec((8, *a.shape[1:]), a.dtype) for a in (x, y, weights))
    return tf.data.Dataset.from_generator(generate, output_signature=spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("third", "cause"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: (np.zeros((8, 5)), np.zeros(8)), "TypeError: .*did not match"),
    ],
    ids=["raises", "another structure"],
)
def test_the_error_of_a_data_set_is_reported_and_the_steps_before_it_are_kept(
    third, cause, after_two_batches
):
    model = fragile()
    with pytest.raises(RuntimeError, match=f"The data set failed in batch 3 of epoch 1: {cause}"):
        model.fit(generated(third), verbose=0)
    assert_equal(model.get_weights(), after_two_batches)


def test_an_empty_data_set_is_rejected():
    with pytest.raises(ValueError, match="nothing to learn from in epoch 1: no batch came"):
        fragile().fit(batches().take(0), verbose=0)


def generator():
    x, y = toy.vectors(32)
    return ((x[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8))


@pytest.mark.parametrize(("steps", "epochs"), [(4, 1), (2, 2)])
@pytest.mark.parametrize("on_bad_batch", ["raise", "skip"])
def test_data_that_end_early_leave_the_history_and_the_weights(steps, epochs, on_bad_batch):
    def fit(of):
        model = distiller(on_bad_batch=on_bad_batch)
        callbacks = [
            kd.callbacks.TemperatureScheduler(lambda epoch: 4.0 - epoch),
            keras.callbacks.EarlyStopping("loss", patience=9),
        ]
        settings = {"steps_per_epoch": steps, "epochs": of, "verbose": 0}
        return model, model.fit(generator(), callbacks=callbacks, **settings)

    with pytest.warns(UserWarning, match="ran out of data"):
        model, history = fit(4)
    shorter, expected = fit(epochs)
    assert history.epoch == expected.epoch
    assert history.history == expected.history
    assert_equal(model.student.get_weights(), shorter.student.get_weights())


# Skipped batches.


@pytest.mark.slow
def test_skipped_batches_change_nothing_but_their_number():
    data = batches(*with_bad("x", np.nan)).concatenate(batches(*with_bad("x", MARK)))
    model = fragile("skip")
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["skipped_batches"] == [2, 2]
    sound = batches(*with_bad("x", 0.0))
    sound = sound.take(2).concatenate(sound.skip(3))
    expected = fragile()
    without = expected.fit(sound.repeat(2), epochs=2, verbose=0).history
    assert_equal(model.get_weights(), expected.get_weights())
    for name, values in without.items():
        assert history[name] == values


@pytest.mark.slow
def test_an_epoch_of_bad_batches_ends_the_training():
    x, y, weights = arrays()
    model = fragile("skip")
    before = model.get_weights()
    with pytest.raises(ValueError, match="epoch 1: all 4 batches were bad"):
        model.fit(batches(x * np.nan, y, weights), verbose=0)
    assert_equal(model.get_weights(), before)


def noisy(student):
    noise = kd.noise.LogitNoise(1.0, seed=1)
    return kd.Distiller(student, failing_teacher(), noise=noise, on_bad_batch="skip")


def augmented(student):
    augment = keras.layers.GaussianNoise(0.1, seed=1)
    options = {"augment": augment, "same_view": True}
    # The teacher gets the augmented values, none of which is exactly `MARK`.
    large = kd.Teacher(failing_teacher().model, preprocessing=nan_for_large)
    return kd.Distiller(student, large, **options, on_bad_batch="skip")


def nan_for_large(x):
    return keras.ops.where(keras.ops.abs(x) > MARK / 2, float("nan"), x)


def averaged(student):
    return kd.SelfDistiller(student, decay=0.9, on_bad_batch="skip")


@pytest.mark.slow
@pytest.mark.parametrize("make", [noisy, augmented, averaged])
@pytest.mark.parametrize("eager", [True, False])
def test_a_skipped_batch_changes_no_variable_and_draws_no_random_number(make, eager):
    x, y, _ = arrays()
    good = np.r_[0:8, 16:32]
    bad = x.copy()
    bad[8:16] = np.nan if make is averaged else MARK
    models = []
    for inputs, labels in ((bad, y), (x[good], y[good])):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((5,)), keras.layers.Dropout(0.5, seed=3), keras.layers.Dense(4)]
        model = make(keras.Sequential(layers))
        model.compile(keras.optimizers.Adam(0.01), toy.sparse_loss(), run_eagerly=eager)
        skipped = model.fit(batches(inputs, labels), verbose=0).history["skipped_batches"]
        assert skipped == [int(inputs is bad)]
        models.append(model)
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_ragged_batches_are_rejected_where_keras_would_fill_them_up(monkeypatch):
    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1.0], [2.0, 3.0]]))
    given = {"x": ragged, "validation_data": batches(), "y": None}
    check_ragged(given)
    monkeypatch.setattr(backend, "BACKEND", "jax")
    with pytest.raises(ValueError, match=r"ragged parts in `x` on the backend 'jax'"):
        check_ragged(given)
    check_ragged({**given, "x": batches()})
