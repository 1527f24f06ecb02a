import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy
from tests.conformance import Stop
from tests.distillers.models import distiller

X, Y = toy.vectors(32)


def waiting(teacher=None, student=None, losses=None, **kwargs):
    """A distiller whose teacher joins after the first epochs."""
    losses = losses or kd.losses.LabelsFirst(kd.losses.SoftTargets(1.0, weight=0.5))
    return distiller(student, teacher, losses, **kwargs)


@pytest.fixture(scope="module")
def expert():
    """A teacher that knows the labels."""
    model = toy.mlp("expert", units=64, seed=3)
    model.compile(keras.optimizers.Adam(0.05), toy.sparse_loss())
    model.fit(X, Y, epochs=60, batch_size=32, verbose=0)
    return model


def states(epochs, start):
    """What `teaching` was in each epoch."""
    return [0.0] * start + [1.0] * (epochs - start)


class Log(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.teaching = []

    def on_epoch_end(self, epoch, logs=None):
        self.teaching.append(float(self.model.hyperparameters["labels_first.teaching"]))


def run(teacher, epochs, model=None):
    model, log = model or waiting(teacher), Log()
    settings = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(X, Y, epochs=epochs, callbacks=log, **settings)
    return model, log.teaching


@pytest.mark.parametrize(("epochs", "start"), [(1, 0), (2, 1), (9, 1), (15, 2)])
def test_a_good_teacher_joins_after_a_fifth_of_the_epochs(expert, epochs, start):
    assert run(expert, epochs)[1] == states(epochs, start)


def test_a_bad_teacher_does_not_join_and_the_student_learns_from_the_labels_alone():
    with pytest.warns(UserWarning, match=r"'labels_first' does not teach.*times the student's"):
        model, teaching = run(toy.mlp("untrained", seed=1), 3)
    assert teaching == [0.0] * 3
    alone = distiller(losses=kd.losses.SoftTargets(weight=0.0))
    alone.fit(X, Y, batch_size=16, shuffle=False, epochs=3, verbose=0)
    for one, other in zip(model.student.get_weights(), alone.student.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_second_fit_keeps_the_decision_and_another_teacher_is_measured_again(expert):
    model, _ = run(expert, 2)
    assert run(None, 2, model)[1] == [1.0, 1.0]
    model.set_teachers(toy.mlp("untrained", seed=1))
    with pytest.warns(UserWarning, match="does not teach"):
        assert run(None, 2, model)[1] == [0.0, 0.0]


@pytest.mark.parametrize("settings", [{"loss": None, "metrics": None}, {"student_loss_weight": 0}])
def test_without_labels_the_teacher_teaches_from_the_start(settings):
    model = waiting(**settings)
    assert run(None, 3, model)[1] == [1.0] * 3


def test_a_resumed_run_decides_as_the_whole_one(tmp_path, expert):
    def fit(folder, *callbacks):
        model = waiting(expert)
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
        every = kd.callbacks.Resume(tmp_path / folder, every=1)
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(data, epochs=2, callbacks=[every, *callbacks], verbose=0)
        return model

    whole = fit("whole")
    for steps in (1, 2, 3):  # Within the measurement, at the decision, and after it.
        fit(f"stopped_{steps}", Stop(steps))
        resumed = fit(f"stopped_{steps}")
        for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_each_output_decides_for_itself():
    def two(name, seed):
        keras.utils.set_random_seed(seed)
        x = keras.Input((6,))
        heads = [keras.layers.Dense(n, name=key)(x) for key, n in (("kind", 4), ("size", 1))]
        return keras.Model(x, heads, name=name)

    x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    student, teacher = two("student", 0), two("teacher", 1)
    y = [np.arange(32) % 4, np.asarray(teacher(x)[1])]
    losses = [
        kd.losses.LabelsFirst(loss(teacher_tap=name, student_tap=name), name=name)
        for name, loss in (("kind", kd.losses.SoftTargets), ("size", kd.losses.OutputsMSE))
    ]
    model = waiting(teacher, student, losses, loss=[toy.sparse_loss(), "mse"], metrics=None)
    with pytest.warns(UserWarning, match="'kind' does not teach"):
        model.fit(x, y, epochs=2, verbose=0)
    found = {loss.name: float(loss.teaching) for loss in model.distillation_losses}
    assert found == {"kind": 0.0, "size": 1.0}


def test_an_output_of_an_unknown_task_is_rejected():
    model = waiting(loss=lambda y, outputs: keras.ops.mean(outputs, -1), metrics=None)
    with pytest.raises(ValueError, match=r"'labels_first'.*activation='softmax'"):
        run(None, 2, model)
