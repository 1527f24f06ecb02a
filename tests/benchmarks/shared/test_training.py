"""Recorded teachers give the same student as live ones."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from benchmarks.shared import training


@pytest.fixture(autouse=True)
def _without_tracing(monkeypatch):
    monkeypatch.setattr(training, "quick_mode", True)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.random((40, 8, 8, 1), "float32"), rng.integers(0, 10, 40)


def networks(count=1):
    models = [training.build_cnn(f"m{i}", (2,), 4, (8, 8, 1), seed=i) for i in range(count + 1)]
    return models[0], models[1:]


def fit(model, x, y):
    training.compile_and_fit(
        model, x, y, loss=training.sparse_loss(), learning_rate=1e-2, epochs=2, batch_size=16
    )


def test_recorded_teachers_give_the_weights_of_live_ones(data):
    x, y = data
    student, teachers = networks(2)
    fit(kd.Distiller(student, teachers), x, y)
    replayed, teachers = networks(2)
    recorded = training.RecordedTeachers(teachers, x)
    fit(kd.Distiller(recorded.student(replayed), recorded.teachers), recorded.inputs(x), y)
    for live, other in zip(student.get_weights(), replayed.get_weights(), strict=True):
        np.testing.assert_allclose(other, live, atol=1e-6)


def test_recorded_teacher_outputs_every_tap(data):
    x, _ = data
    _, (teacher,) = networks()
    recorded = training.RecordedTeachers(teacher, x, ("features", "logits"))
    outputs = recorded.models[0](recorded.inputs(x))
    np.testing.assert_allclose(outputs["logits"], teacher(x), atol=1e-6)
    assert outputs["features"].shape == (40, 4)


def test_sequential_teacher_from_a_file_is_recorded(data, tmp_path):
    x, _ = data
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="logits")]
    keras.Sequential(layers, name="teacher").save(tmp_path / "teacher.keras")
    teacher = keras.models.load_model(tmp_path / "teacher.keras")
    recorded = training.RecordedTeachers(teacher, x)
    np.testing.assert_allclose(recorded.models[0](recorded.inputs(x)), teacher(x), atol=1e-6)


def test_model_is_trained_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CACHE", tmp_path)
    calls = []

    def train():
        calls.append(1)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    first, again = (training.load_or_train("model", train) for _ in range(2))
    assert len(calls) == 1
    np.testing.assert_array_equal(first.get_weights()[0], again.get_weights()[0])


def test_batches_keep_the_last_samples():
    x, y = np.arange(5), np.arange(5) * 2
    batches = training.to_batches(x, y, size=2)
    assert [len(batch) for batch, _ in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), y)
