"""Born-again generations: who teaches whom, and what is left of a run that was killed."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy

SETTINGS = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}


def build():
    return toy.cnn("student", dropout=0.3)


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_generation_is_taught_by_the_one_before_it():
    x, y = toy.data()
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
    for ours, theirs in zip(result.students, expected, strict=True):
        assert_equal(ours.get_weights(), theirs.get_weights())
    assert "soft_targets" not in result.histories[0].history
    assert len(result.histories[2].history["soft_targets"]) == 2


class Stop(keras.callbacks.Callback):
    """Stops at the beginning of the second epoch of the third generation."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = getattr(self, "begun", 0) + (epoch == 0)
        if self.begun == 3 and epoch == 1:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    x, y = toy.data()

    def run(**kwargs):
        return kd.born_again(build, x, y, loss=toy.sparse_loss(), metrics=["accuracy"], **kwargs)

    expected = run(**SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        run(path=tmp_path / "run", callbacks=[Stop()], **SETTINGS)
    seen = []
    counting = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    resumed = run(path=tmp_path / "run", callbacks=[counting], **SETTINGS)
    assert seen == [1]
    for one, other in zip(expected.students, resumed.students, strict=True):
        assert_equal(one.get_weights(), other.get_weights())
    assert resumed.histories[1].history == expected.histories[1].history
    again = run(path=tmp_path / "run", callbacks=[counting], **SETTINGS)
    assert seen == [1]
    assert_equal(again.student.get_weights(), expected.student.get_weights())
    kept = sorted(file.name for file in (tmp_path / "run").iterdir())
    assert kept == [f"generation_{n}.{end}" for n in range(3) for end in ("json", "weights.h5")]


ONE = toy.cnn("one")


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"build": toy.cnn("s")}, TypeError, "`build` must be a function"),
        ({"build": lambda: ONE}, ValueError, "make a new model each time"),
        ({"generations": 1}, ValueError, "at least 2. Received: generations=1"),
        ({"loss": None}, ValueError, "there must be a `loss`"),
        (
            {"callbacks": [keras.callbacks.BackupAndRestore("folder")]},
            ValueError,
            "BackupAndRestore would restore one generation's weights in another",
        ),
    ],
)
def test_what_has_no_generations_is_refused(given, error, sentence):
    x, y = toy.data()
    arguments = {"build": build, "loss": toy.sparse_loss(), "verbose": 0, **given}
    with pytest.raises(error, match=sentence):
        kd.born_again(x=x, y=y, **arguments)
