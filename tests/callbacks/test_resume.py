"""Tests of `Resume`: a run that is stopped and started again ends as the uninterrupted run."""

import hashlib
import json
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


def distiller(on_bad_batch="raise", steps_per_execution=1, eager=True):
    """Return a distiller with noise, dropout, a projector, batch normalization and momentum."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(6, name="hidden")
    norm, dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
    layers = [keras.Input((5,)), hidden, norm, dropout, keras.layers.Dense(4)]
    student, teacher = keras.Sequential(layers), toy.mlp("teacher", seed=1)
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    noise = kd.noise.LogitNoise(0.5, probability=0.5)
    model = kd.Distiller(student, teacher, losses, noise=noise, on_bad_batch=on_bad_batch)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        toy.sparse_loss(),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
        run_eagerly=eager,
    )
    return model


class Stop(keras.callbacks.Callback):
    """Stop the run after a step, as Ctrl-C does."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) >= self.step:
            raise KeyboardInterrupt


def run(folder, *others, every=2, bad=False, epochs=EPOCHS, steps=1, eager=True):
    model = distiller("skip" if bad else "raise", steps, eager)
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
    """Return the folder of a run stopped in its second epoch, after step 8 of 15."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        run(folder, Stop(8))
    return folder


@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_continues_at_the_step_of_the_checkpoint(
    whole, stopped, tmp_path
):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    assert sorted(os.listdir(folder)) == ["000000000004-1", "000000000006-1"]
    resumed, history = run(folder)
    assert same(resumed, whole[0])
    assert history.epoch == [0, 1, 2]
    assert history.history["hint.weight"] == [0.5, 0.25, 0.125]
    for name in ("loss", "accuracy", "hint"):
        assert history.history[name][::2] == whole[1].history[name][::2]


@pytest.mark.slow
def test_a_run_stopped_between_epochs_repeats_the_epoch(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stop(2 * STEPS + 1), every="epoch")
    resumed, history = run(tmp_path, every="epoch")
    assert same(resumed, whole[0])
    assert history.history == whole[1].history


@pytest.mark.slow
def test_a_damaged_checkpoint_is_ignored_with_a_warning(whole, stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    path = folder / "000000000006-1" / "state.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="000000000006-1' is damaged and ignored"):
        resumed, _ = run(folder)
    assert same(resumed, whole[0])


def test_nothing_is_trained_if_all_checkpoints_are_damaged(stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    for path in folder.glob("*/about.json"):
        path.write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            ValueError, match="all checkpoints in .* are damaged. Delete the folder"
        ):
            run(folder)


@pytest.mark.slow
def test_a_finished_run_is_loaded_and_continues_for_more_epochs(whole, tmp_path):
    shorter, _ = run(tmp_path, epochs=2)
    loaded, history = run(tmp_path, epochs=2)
    assert same(loaded, shorter)
    assert int(loaded.optimizer.iterations) == 2 * STEPS
    assert len(history.history["loss"]) == 2
    longer, history = run(tmp_path)
    assert same(longer, whole[0])
    assert len(history.history["loss"]) == 3


@pytest.mark.slow
def test_a_run_stopped_by_a_callback_is_not_trained_further(tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    ended, _ = run(tmp_path, Enough())
    loaded, history = run(tmp_path)
    assert same(loaded, ended)
    assert history.epoch == [0]


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "again", "eager"), [(3, 2, False), (2, 4, True)])
def test_several_steps_per_execution_give_the_weights_of_single_steps(
    steps, again, eager, whole, tmp_path
):
    # 5 steps per epoch: the last execution of an epoch has fewer steps, and with other
    # `steps_per_execution` the restart begins within an execution.
    expected = whole[0] if eager else run(tmp_path / "whole", eager=False)[0]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(8), steps=steps, eager=eager)
    resumed, history = run(tmp_path / "stopped", steps=again, eager=eager)
    assert int(resumed.optimizer.iterations) == EPOCHS * STEPS
    assert same(resumed, expected)
    assert history.epoch == [0, 1, 2]


class SetWeight(keras.callbacks.Callback):
    """Change a hyperparameter in every hook of a batch and an epoch."""

    def change(self, *_, **__):
        weight = self.model.hyperparameters["hint.weight"]
        self.model.set_hyperparameter("hint.weight", 0.9 * float(weight))

    on_epoch_begin = on_train_batch_begin = on_train_batch_end = on_epoch_end = change


def fit_with_changes(folder, *more, first=True):
    callbacks = [kd.callbacks.Resume(folder, every=2), SetWeight(), *more]
    model = distiller()
    model.fit(samples(), epochs=2, verbose=0, callbacks=callbacks[:: 1 if first else -1])
    return model


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    return fit_with_changes(tmp_path_factory.mktemp("changed"))


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_the_place_in_the_list_of_callbacks_makes_no_difference(first, changed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_with_changes(tmp_path, Stop(7), first=first)
    assert same(fit_with_changes(tmp_path, first=first), changed)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_finished_run_keeps_the_weights_that_early_stopping_restored(first, tmp_path):
    ends = []
    for _ in range(2):
        callbacks = [
            kd.callbacks.Resume(tmp_path),
            keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
        ]
        model = distiller()
        model.optimizer.learning_rate = 0.5
        data = {"x": samples(), "validation_data": samples(), "epochs": 4, "verbose": 0}
        model.fit(**data, callbacks=callbacks if first else callbacks[::-1])
        ends.append(model.student.get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_data_set_object_that_shuffles_anew_is_explained(tmp_path):
    data = samples()
    distiller().fit(data, verbose=0, callbacks=[kd.callbacks.Resume(tmp_path)])
    with pytest.raises(ValueError, match="if it has one, make the data set again"):
        distiller().fit(data, epochs=2, verbose=0, callbacks=[kd.callbacks.Resume(tmp_path)])


@pytest.mark.slow
def test_the_step_belongs_to_the_model_again_after_a_fit(tmp_path):
    model, _ = run(tmp_path, epochs=1)
    assert model.step_owner is None
    x, y = np.zeros((8, 5), "float32"), np.zeros(8, int)
    before = int(model.optimizer.iterations)
    model.train_on_batch(x, y)
    assert int(model.optimizer.iterations) == before + 1


@pytest.mark.slow
def test_skipped_batches_are_skipped_at_the_same_step_after_a_restart(tmp_path):
    expected, history = run(tmp_path / "whole", bad=True, epochs=2)
    assert history.history["skipped_batches"] == [1, 1]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Stop(7), bad=True, epochs=2)
    assert same(run(tmp_path / "stopped", bad=True, epochs=2)[0], expected)


def test_data_models_and_arguments_it_cannot_resume_are_rejected(stopped, tmp_path):
    model = distiller()

    def fit(data, folder=tmp_path, **kwargs):
        model.fit(data, verbose=0, callbacks=[kd.callbacks.Resume(folder)], **kwargs)

    with pytest.raises(ValueError, match=r"in a tf\.data\.Dataset only"):
        fit(np.zeros((8, 5)), y=np.zeros(8))
    with pytest.raises(ValueError, match="Pass `steps_per_epoch`"):
        fit(samples().filter(lambda *_: True))
    with pytest.raises(ValueError, match="must be at least 1. Received: steps_per_epoch=0"):
        fit(samples(), steps_per_epoch=0)
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


@pytest.mark.slow
def test_a_run_with_other_teachers_is_rejected_also_if_it_is_finished(stopped, tmp_path):
    def fit(seed, folder, **kwargs):
        model = distiller()
        model.set_teachers(toy.mlp("teacher", seed=seed))
        callbacks = [kd.callbacks.Resume(folder)]
        return model.fit(samples(), verbose=0, callbacks=callbacks, **kwargs).history

    with pytest.raises(ValueError, match="holds a run with other teachers. Give each run a folder"):
        fit(2, stopped, epochs=3)
    finished = fit(1, tmp_path)
    with pytest.raises(ValueError, match="other teachers"):
        fit(2, tmp_path)
    assert fit(1, tmp_path) == finished
    about = next(tmp_path.glob("*/about.json"))
    content = json.loads(about.read_text())["content"]
    assert len(content.pop("teachers")) == 1
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    about.write_text(json.dumps({"content": content, "digest": digest}))
    assert fit(2, tmp_path) == finished  # A checkpoint of version 0.1 does not know them.


KILLED = """
import os, signal, sys
import keras
from tests.callbacks import test_resume

save_weights = keras.Model.save_weights

def save_half_of_the_third(model, path):
    if int(model.optimizer.iterations) < 6:
        return save_weights(model, path)
    path.write_bytes(b"half of a checkpoint")
    os.kill(os.getpid(), signal.SIGKILL)

keras.Model.save_weights = save_half_of_the_third
test_resume.run(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_run_killed_within_an_epoch_while_it_writes_a_checkpoint_ends_the_same(whole, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert (tmp_path / "000000000004-1").exists()
    assert list(tmp_path.glob(".unfinished-*"))
    finished, _ = run(tmp_path)
    assert same(finished, whole[0])
    assert not list(tmp_path.glob(".unfinished-*"))
