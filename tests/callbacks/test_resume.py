"""A run that is stopped anywhere and started again is the run that was not stopped."""

import os
import shutil
import signal
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy

EPOCHS, STEPS = 3, 5


def samples(bad=False):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)).astype("float32"), rng.integers(0, 4, 40)
    if bad:
        x[7] = np.nan
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=1).batch(8)


def distiller(on_bad_batch="raise"):
    """With state wherever there can be some: noise, dropout, a projector, a schedule, Adam."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(6, name="hidden")
    norm, dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
    layers = [keras.Input((5,)), hidden, norm, dropout, keras.layers.Dense(4)]
    student, teacher = keras.Sequential(layers), toy.mlp("teacher", seed=1)
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    noise = kd.noise.LogitNoise(0.5, probability=0.5)
    model = kd.Distiller(student, teacher, losses, noise=noise, on_bad_batch=on_bad_batch)
    model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
    return model


class Stop(keras.callbacks.Callback):
    """Ends the run after a step, as Ctrl-C does."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


def run(folder, *others, every=2, bad=False, epochs=EPOCHS):
    model = distiller("skip" if bad else "raise")
    # A schedule that depends on the value must not be applied twice to an epoch.
    halved = kd.callbacks.LossWeightScheduler(lambda _, weight: weight / 2, "hint")
    callbacks = [halved, kd.callbacks.Resume(folder, every=every), *others]
    history = model.fit(samples(bad), epochs=epochs, verbose=0, callbacks=callbacks)
    return model, history


def same(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    moments = zip(one.optimizer.variables, other.optimizer.variables, strict=True)
    return all(np.array_equal(a, b) for a, b in pairs) and all(
        np.array_equal(a, b) for a, b in moments
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in its second epoch, after the eighth of fifteen steps."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(folder, Stop(8))
    return folder


def test_stopped_within_an_epoch_it_goes_on_at_the_step_of_the_checkpoint(whole, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    assert sorted(os.listdir(folder)) == ["000000000004-1", "000000000006-1"]
    resumed, history = run(folder)
    assert same(resumed, whole[0])
    assert history.epoch == [0, 1, 2]
    assert history.history["hint.weight"] == [0.5, 0.25, 0.125]
    for name in ("loss", "accuracy", "hint"):
        assert history.history[name][::2] == whole[1].history[name][::2]


def test_stopped_between_two_epochs_it_begins_the_epoch_anew(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stop(2 * STEPS + 1), every="epoch")
    resumed, history = run(tmp_path, every="epoch")
    assert same(resumed, whole[0])
    assert history.history == whole[1].history


@pytest.mark.parametrize("damage", ["flipped", "torn", "about"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_used(
    damage, whole, stopped, tmp_path
):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    newest = folder / "000000000006-1"
    path = newest / ("about.json" if damage == "about" else "state.weights.h5")
    content = bytearray(path.read_bytes())
    if damage == "torn":
        content = content[: len(content) // 2]
    else:
        place = content.index(b'"batch": 1') + 9 if damage == "about" else len(content) // 2
        content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="000000000006-1' is damaged and left out"):
        resumed, _ = run(folder)
    assert same(resumed, whole[0])


def test_a_checkpoint_that_is_larger_than_any_is_not_read(whole, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    # Spaces before it change nothing in JSON.
    about = folder / "000000000006-1" / "about.json"
    content = about.read_bytes()
    about.write_bytes(b" " * 2**28 + content)
    with pytest.warns(UserWarning, match="000000000006-1' is damaged and left out"):
        resumed, _ = run(folder)
    assert same(resumed, whole[0])


def test_where_no_checkpoint_is_whole_nothing_is_trained(stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    for path in folder.glob("*/about.json"):
        path.write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="no checkpoint in .* is whole. Delete the folder"):
            run(folder)


def test_a_finished_run_is_loaded_and_goes_on_where_more_epochs_are_wanted(whole, tmp_path):
    shorter, _ = run(tmp_path, epochs=2)
    loaded, history = run(tmp_path, epochs=2)
    assert same(loaded, shorter)
    assert int(loaded.optimizer.iterations) == 2 * STEPS
    assert len(history.history["loss"]) == 2
    longer, history = run(tmp_path)
    assert same(longer, whole[0])
    assert len(history.history["loss"]) == 3


def test_a_run_that_a_callback_ended_is_not_trained_on(tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    ended, _ = run(tmp_path, Enough())
    loaded, history = run(tmp_path)
    assert same(loaded, ended)
    assert history.epoch == [0]


def test_batches_that_were_skipped_are_skipped_again_at_their_place(tmp_path):
    expected, history = run(tmp_path / "whole", bad=True)
    assert history.history["skipped_batches"] == [1, 1, 1]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(7), bad=True)
    assert same(run(tmp_path / "stopped", bad=True)[0], expected)


def test_what_it_cannot_go_on_with_is_refused(stopped, tmp_path):
    model = distiller()

    def fit(data, folder=tmp_path, **kwargs):
        model.fit(data, verbose=0, callbacks=[kd.callbacks.Resume(folder)], **kwargs)

    with pytest.raises(ValueError, match=r"in a tf\.data\.Dataset only"):
        fit(np.zeros((8, 5)), y=np.zeros(8))
    with pytest.raises(ValueError, match="Pass `steps_per_epoch`"):
        fit(samples().filter(lambda *_: True))
    with pytest.raises(ValueError, match="Resume sets the epoch to begin with"):
        fit(samples(), initial_epoch=1, epochs=2)
    with pytest.raises(ValueError, match="Give `shuffle` a seed"):
        fit(samples().map(lambda x, y: (x + 1, y)), stopped, epochs=3)
    with pytest.raises(ValueError, match=r"`every` must be a number of steps"):
        kd.callbacks.Resume(tmp_path, every=0)
    plain = toy.mlp("plain")
    plain.compile("adam", toy.sparse_loss())
    with pytest.raises(ValueError, match="is a plain keras.Model"):
        plain.fit(samples(), verbose=0, callbacks=[kd.callbacks.Resume(tmp_path)])
    other = kd.Distiller(toy.mlp("other", units=3), toy.mlp("teacher", seed=1))
    other.compile("adam")
    with pytest.raises(ValueError, match="holds a run of another model"):
        other.fit(samples(), verbose=0, callbacks=[kd.callbacks.Resume(stopped)])


KILLED = """
import os, signal, sys
import keras
from tests.callbacks import test_resume as run
import keras_kd as kd

folder, where = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Die(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 4:
            die()

if where == "while the weights are written":
    def half(self, path):
        path.write_bytes(b"half of a checkpoint")
        die()
    keras.Model.save_weights = half
others = [Die()] if where == "within an epoch" else []
run.run(folder, *others)
"""


def test_killed_within_an_epoch_and_then_within_a_checkpoint_it_ends_the_same(whole, tmp_path):
    for where in ("within an epoch", "while the weights are written"):
        command = [sys.executable, "-c", KILLED, str(tmp_path), where]
        killed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert list(tmp_path.glob(".unfinished-*"))
    finished, _ = run(tmp_path)
    assert same(finished, whole[0])
    assert not list(tmp_path.glob(".unfinished-*"))
