import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy

SETTINGS = {"batch_size": 16, "epochs": 2, "verbose": 0, "shuffle": False}


def build():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(8), layers.Dropout(0.3, seed=0), layers.Dense(4)],
        name="student",
    )


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_each_generation_is_distilled_from_the_previous_one():
    x, y = toy.vectors(16)
    y[::4] = kd.UNLABELED
    losses = ["soft_targets"]
    result = kd.born_again(
        build, x, y, loss=toy.sparse_loss(), optimizer="sgd", losses=losses, **SETTINGS
    )
    first, expected = build(), []
    alone = kd.Distiller(first, [], losses=[], student_loss_weight=1.0)
    for generation in range(3):
        student = first if generation == 0 else build()
        model = alone if generation == 0 else kd.Distiller(student, expected[-1], losses)
        model.compile("sgd", toy.sparse_loss())
        model.fit(x, y, **SETTINGS)
        expected.append(student)
    assert len(result.students) == len(result.histories) == 3
    assert result.student is result.students[2]
    for one, other in zip(result.students, expected, strict=True):
        assert_equal(one.get_weights(), other.get_weights())
    assert "soft_targets" not in result.histories[0].history
    assert len(result.histories[2].history["soft_targets"]) == 2


class Stop(keras.callbacks.Callback):
    """Stops at the start of the second epoch of the third generation."""

    def on_epoch_begin(self, epoch, logs=None):
        self.generation = getattr(self, "generation", 0) + (epoch == 0)
        if self.generation == 3 and epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_an_interrupted_run_continues_where_it_stopped(tmp_path):
    x, y = toy.vectors(16)

    def run(**kwargs):
        return kd.born_again(build, x, y, loss=toy.sparse_loss(), metrics=["accuracy"], **kwargs)

    expected = run(**SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        run(path=tmp_path / "run", callbacks=[Stop()], **SETTINGS)
    epochs = []
    record = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    resumed = run(path=tmp_path / "run", callbacks=[record], **SETTINGS)
    assert epochs == [1]
    for one, other in zip(expected.students, resumed.students, strict=True):
        assert_equal(one.get_weights(), other.get_weights())
    assert resumed.histories[1].history == expected.histories[1].history
    again = run(path=tmp_path / "run", callbacks=[record], **SETTINGS)
    assert epochs == [1]
    assert_equal(again.student.get_weights(), expected.student.get_weights())
    kept = sorted(file.name for file in (tmp_path / "run").iterdir())
    files = [f"generation_{n}.{end}" for n in range(3) for end in ("json", "weights.h5")]
    assert kept == ["about.json", *files]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("born_again") / "run"
    tf.config.run_functions_eagerly(True)
    run(path)
    tf.config.run_functions_eagerly(False)
    return path


def run(path, build=build, **kwargs):
    (x, y), optimizer = toy.vectors(16), keras.optimizers.SGD(0.1)
    arguments = {"y": y, "loss": toy.sparse_loss(), "optimizer": optimizer, **SETTINGS, **kwargs}
    return kd.born_again(build, x, path=path, **arguments)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"y": toy.vectors(16)[1][::-1].copy()}, "y"),
        ({"build": lambda: toy.mlp("student", units=9)}, "build"),
        ({"loss": "sparse_categorical_crossentropy"}, "loss"),
        ({"losses": [kd.losses.OutputsMSE()]}, "losses"),
        ({"optimizer": keras.optimizers.SGD(0.2)}, "optimizer"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_folder_of_another_run_is_rejected(finished, changed, name):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    with pytest.raises(
        ValueError, match=rf"run' contains a run with other {name}\. Pass another p"
    ):
        run(finished, **changed)
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_folder_of_another_version_is_rejected(finished, tmp_path):
    path = shutil.copytree(finished, tmp_path / "run")
    (path / "about.json").unlink()
    with pytest.raises(ValueError, match="a run with other version of keras_kd"):
        run(path)


@pytest.mark.usefixtures("eager")
def test_a_finished_run_continues_with_more_generations(finished, tmp_path):
    path = shutil.copytree(finished, tmp_path / "run")
    result = run(path, generations=4)
    assert len(result.students) == 4
    assert [len(history.epoch) for history in result.histories] == [2, 2, 2, 2]


ONE = toy.mlp("one")


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"build": toy.mlp("s")}, TypeError, "`build` must be a function"),
        ({"build": lambda: ONE}, ValueError, "return a new model for each call"),
        ({"generations": 1}, ValueError, "at least 2. Received: generations=1"),
        ({"loss": None}, ValueError, "which needs a `loss`"),
        (
            {"callbacks": [keras.callbacks.BackupAndRestore("folder")]},
            ValueError,
            "BackupAndRestore would restore the weights of one generation into another",
        ),
    ],
)
def test_invalid_arguments_are_rejected(given, error, sentence):
    x, y = toy.vectors(8)
    arguments = {"build": build, "loss": toy.sparse_loss(), "verbose": 0, **given}
    with pytest.raises(error, match=sentence):
        kd.born_again(x=x, y=y, **arguments)
