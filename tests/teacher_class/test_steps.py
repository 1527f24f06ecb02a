"""The steps: what runs in each, what they read, and what they reject."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy
from tests.teacher_class.models import (
    dense_teacher,
    discriminator,
    ensemble,
    mimicry,
    samples,
    student,
)


def test_the_teacher_runs_once_per_batch_and_never_in_predict():
    teacher, counter = toy.counted(dense_teacher())
    model = kd.TeacherClass(teacher, "teacher/features", student, n=3, mimic="auto")
    model.compile("sgd", run_eagerly=True)
    x = samples()
    model.fit(x, batch_size=6, verbose=0)
    assert int(counter.count) == 4
    model.predict(x, verbose=0)
    assert int(counter.count) == 4
    model.evaluate(x, batch_size=12, verbose=0)
    assert int(counter.count) == 6


@pytest.mark.slow
def test_labels_are_ignored_and_sample_weights_are_used():
    x, y, w = samples(), np.zeros(24), np.linspace(0, 2, 24).astype("float32")
    logs = []
    for form in (x, (x, y), (x, y, w)):
        data = tf.data.Dataset.from_tensor_slices(form).batch(24)
        logs.append(ensemble().fit(data, verbose=0).history)
    assert logs[0] == logs[1]
    model = ensemble()
    expected = mimicry(model, dense_teacher(), x, w)
    np.testing.assert_allclose(logs[2]["student_0"][0], expected[0], rtol=1e-5)
    found = model.fit(x, sample_weight=w, verbose=0).history
    np.testing.assert_allclose(found["loss"], logs[2]["loss"], rtol=1e-5)


@pytest.mark.traced
@pytest.mark.slow
def test_the_step_is_traced_once():
    traced = []

    class Traced(kd.TeacherClass):
        def train_step(self, data):
            traced.append(data)
            return super().train_step(data)

    students = [student(4), student(4)]
    model = Traced(dense_teacher(), "features", students, discriminators=discriminator)
    model.compile("adam")
    model.fit(samples(), batch_size=8, verbose=0)
    assert len(traced) == 1


def test_a_teacher_that_returns_nan_is_named():
    teacher = dense_teacher(None)
    teacher.get_layer("features").kernel.assign(np.full((6, 8), np.nan))
    with pytest.raises(ValueError, match="Teacher 'teacher' "):
        ensemble(teacher=teacher).fit(samples(), verbose=0)
