"""A student taught by its earlier self: when, by which weights, and what a resume gives."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy


def distiller(student=None, **kwargs):
    model = kd.SelfDistiller(student or toy.cnn("student"), **kwargs)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
    return model


class Weights(keras.callbacks.Callback):
    """Notes the student's weights before training and after each batch and epoch."""

    def on_train_begin(self, logs=None):
        self.steps = [self.model.student.get_weights()]
        self.epochs = [self.model.student.get_weights()]

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.student.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.student.get_weights())


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Late snapshots.


def test_a_snapshot_is_a_copy_of_the_weights_at_the_start_of_its_epoch_and_no_reference():
    (x, y), noted = toy.data(), Weights()
    model = distiller(start=2)
    model.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[noted])
    assert_equal(model.earlier_self.get_weights(), noted.epochs[2])
    assert not np.array_equal(model.student.get_weights()[0], noted.epochs[2][0])
    ours = {id(weight) for weight in model.student.weights}
    assert not ours & {id(weight) for weight in model.earlier_self.weights}


def test_snapshots_are_taken_anew():
    (x, y), noted, seen = toy.data(), Weights(), []
    model = distiller(start=1, every=2)
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(model.earlier_self.get_weights()[0])
    )
    model.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[noted, look])
    for epoch, source in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5)):
        np.testing.assert_array_equal(seen[epoch], noted.epochs[source][0])


def test_before_the_snapshot_training_is_plain_and_no_teacher_runs():
    x, y = toy.data()
    plain = toy.cnn("student")
    plain.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    plain.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    student, counter = toy.counted(toy.cnn("student"))
    model = distiller(student, start=2)
    earlier = model.earlier_self.get_layer(counter.name)
    logs = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    assert_equal(plain.get_weights(), model.student.get_layer("student").get_weights())
    assert logs["soft_targets"] == [0.0, 0.0]
    assert int(earlier.count) == 0
    logs = model.fit(x, y, batch_size=8, epochs=4, initial_epoch=2, verbose=0).history
    assert min(logs["soft_targets"]) > 0
    # The snapshot took the counter's value along.
    assert int(earlier.count) == 8 + 8


def test_the_loss_after_the_snapshot_is_the_sum_of_its_parts():
    (x, y), student = toy.data(), toy.cnn("student")
    student.get_layer("norm").trainable = False
    losses = [kd.losses.SoftTargets(2.0, weight=0.3), kd.losses.Hint("conv", "conv", None)]
    model = kd.SelfDistiller(student, losses, student_loss_weight=0.7, start=1)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    model.fit(x, y, batch_size=32, verbose=0)
    before = student(x)
    model.fit(x, y, batch_size=32, epochs=2, initial_epoch=1, verbose=0)
    after = student(x)
    model.optimizer.learning_rate = 0.0
    logs = model.fit(x, y, batch_size=32, epochs=3, initial_epoch=2, verbose=0).history
    soft = np.mean(kd.losses.SoftTargets(2.0)(before, after))
    hard = toy.sparse_loss()(y, after)
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-4)
    total = 0.7 * hard + 0.3 * soft + logs["hint"][0]
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)


def test_a_second_fit_begins_anew():
    (x, y), noted = toy.data(), Weights()
    model = distiller(start=1)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    logs = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[noted]).history
    assert logs["soft_targets"][0] == 0
    assert_equal(model.earlier_self.get_weights(), noted.epochs[1])


# The running average.


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_running_average_equals_the_closed_form(decay):
    (x, y), noted = toy.data(), Weights()
    model = distiller(decay=decay)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[noted])
    steps = len(noted.steps) - 1
    # The plain mean of the first weights, as long as t / (t + 1) is at most the decay.
    mean = max(t for t in range(steps + 1) if t / (t + 1) <= decay + 1e-9)
    powers = decay ** np.arange(steps - mean, -1, -1.0)
    shares = np.append(powers[0], (1 - decay) * powers[1:])
    for k, average in enumerate(model.earlier_self.get_weights()):
        first = np.mean([weights[k] for weights in noted.steps[: mean + 1]], axis=0)
        parts = [first, *(weights[k] for weights in noted.steps[mean + 1 :])]
        expected = sum(share * part for share, part in zip(shares, parts, strict=True))
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)


def test_the_average_is_kept_from_the_first_step_and_teaches_from_its_epoch():
    (x, y), noted = toy.data(), Weights()
    model = distiller(decay=0.999, start=1)
    logs = model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[noted]).history
    assert logs["soft_targets"][0] == 0
    assert logs["soft_targets"][1] > 0
    expected = np.mean([weights[0] for weights in noted.steps], axis=0)
    np.testing.assert_allclose(model.earlier_self.get_weights()[0], expected, rtol=1e-4, atol=1e-6)


def test_whole_numbers_are_taken_over_and_not_averaged():
    x, y = toy.data()
    student, counter = toy.counted(toy.cnn("student"))
    model = distiller(student, decay=0.5)
    model.fit(x, y, batch_size=8, verbose=0)
    assert int(model.earlier_self.get_layer(counter.name).count) == int(counter.count) == 4


# The state of the run.

RUN = """
import os, signal, sys
import keras, numpy as np, tensorflow as tf
import keras_kd as kd
from tests import toy

folder, die = sys.argv[1:]

class Die(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.params["epochs"] and self.epoch == 3 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

x, y = toy.data()
y[::3] = kd.UNLABELED
student = toy.cnn("student", dropout=0.5)
losses = [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")]
model = kd.SelfDistiller(student, losses, start=2)
model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
callbacks = [kd.callbacks.Resume(folder, every=3)]
callbacks += [Die()] if die == "die" else []
data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=1).batch(8)
model.fit(data, epochs=6, verbose=0, callbacks=callbacks)
for weight in model.get_weights():
    print(weight.astype("float64").tobytes().hex())
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_the_late_phase_and_resumed_it_gives_the_same_weights(tmp_path):
    def run(folder, die="live"):
        command = [sys.executable, "-c", RUN, str(folder), die]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    expected = run(tmp_path / "whole")
    killed = run(tmp_path / "backup", "die")
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path / "backup")
    resumed = run(tmp_path / "backup")
    assert expected.returncode == resumed.returncode == 0, resumed.stderr[-2000:]
    assert len(expected.stdout.splitlines()) > 20
    assert resumed.stdout == expected.stdout


def test_a_loaded_distiller_trains_on_as_if_it_had_not_been_saved(tmp_path):
    x, y = toy.data()
    model = distiller(toy.cnn("student", dropout=0.5), start=1)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert_equal(loaded.earlier_self.get_weights(), model.earlier_self.get_weights())
    kwargs = {"epochs": 3, "initial_epoch": 2, "shuffle": False, "verbose": 0}
    one = model.fit(x, y, **kwargs).history
    assert loaded.fit(x, y, **kwargs).history == one
    assert_equal(loaded.get_weights(), model.get_weights())


def test_nothing_of_the_earlier_self_is_trained_regularised_or_shipped():
    x, y = toy.data()
    model = distiller(toy.cnn("student", regularizer="l2"), decay=0.9)
    plain = toy.cnn("student", regularizer="l2")
    assert len(model.trainable_variables) == len(plain.trainable_variables)
    assert len(model.losses) == 1
    model.fit(x, y, verbose=0)
    assert [w.path for w in model.student.weights] == [w.path for w in plain.weights]


# Models and ways of running.


def test_a_subclassed_student():
    @keras.saving.register_keras_serializable("test_self_distiller")
    class Net(keras.Model):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.hidden = layers.Dense(units, activation="relu", name="hidden")
            self.head = layers.Dense(4, name="head")

        def call(self, x):
            return self.head(self.hidden(x))

        def get_config(self):
            return {"units": self.units, "name": self.name}

    student, x, y = Net(8), np.random.default_rng(0).normal(size=(12, 5)), np.arange(12) % 4
    student(x)
    model = distiller(student, losses=kd.losses.Hint("hidden", "hidden", None), decay=0.9)
    before = ops.convert_to_numpy(model.earlier_self(x))
    np.testing.assert_array_equal(before, student(x))
    assert model.fit(x, y, batch_size=4, epochs=2, verbose=0).history["hint"][1] > 0


@pytest.mark.parametrize(
    ("form", "how"),
    [
        ({"start": 1}, {"jit_compile": True}),
        ({"decay": 0.9}, {"run_eagerly": True}),
        ({"start": 1}, {"steps_per_execution": 4}),
        ({"decay": 0.9}, {"steps_per_execution": 4}),
    ],
    ids=str,
)
def test_every_way_of_running_gives_the_same_weights(form, how):
    x, y = toy.data()
    weights = []
    for kwargs in ({}, how):
        model = kd.SelfDistiller(toy.cnn("student"), **form)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), toy.sparse_loss(), **kwargs)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [{"start": 1}, {"decay": 0.9}], ids=str)
def test_mixed_precision(form):
    x, y = toy.data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = distiller(**form)
    finally:
        keras.config.set_dtype_policy("float32")
    logs = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert {w.dtype for w in model.earlier_self.weights} == {"float32"}


def test_a_mean_teacher_learns_from_unlabelled_and_augmented_samples():
    x, y = toy.data(64)
    y[16:] = kd.UNLABELED
    model = kd.SelfDistiller(toy.cnn("student"), decay=0.9, augment=layers.GaussianNoise(0.3))
    model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
    logs = model.fit(x, y, batch_size=16, epochs=5, verbose=0).history
    assert logs["student_loss"][-1] < logs["student_loss"][0]
    assert min(logs["soft_targets"]) > 0


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "`start` is the epoch.*for snapshots.*at least 1.*Received: start=0"),
        ({"start": 1.5}, "Received: start=1.5"),
        ({"decay": 1.0}, "`decay` must be at least 0 and below 1"),
        ({"start": 1, "every": 0}, "`every` is a number of epochs"),
        ({"decay": 0.9, "every": 2}, "`every` is a number of epochs between two snapshots"),
    ],
)
def test_numbers_out_of_range_are_refused(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.SelfDistiller(toy.cnn("student"), **kwargs)


def test_what_cannot_be_copied_or_taught_is_refused():
    class Net(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.head = layers.Dense(units)

        def call(self, x):
            return self.head(x)

    student = Net(4)
    student(np.ones((1, 5)))
    with pytest.raises(ValueError, match="cannot be copied: it must be Functional"):
        kd.SelfDistiller(student, start=1, student_outputs="logits")
    with pytest.raises(ValueError, match="teaches itself"):
        distiller(start=1).set_teachers(toy.cnn("teacher"))
