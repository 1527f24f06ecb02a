"""The task term: its value, its gradients per student, and the teachers that it rejects."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests.teacher_class.models import (
    PERMUTED,
    dense_teacher,
    ensemble,
    exact_students,
    samples,
    stateful_student,
    values_at,
)


def divergences(model, teacher, x, linear):
    """The divergence of each student, with the chunks replaced one after the other."""
    before = x @ teacher.get_layer("features").get_weights()[0]  # The bias is zero.
    activation = teacher.get_layer("features").activation
    found, p = [], teacher(x).numpy()
    for number, output in zip(model.numbers, model.predict(x, verbose=0), strict=True):
        values = before.copy() if linear else values_at(teacher, "features", x).copy()
        values[:, model.chunks[number]] = output
        apply = linear or activation is keras.activations.relu
        q = teacher.get_layer("head")(activation(values) if apply else values).numpy()
        found.append(np.mean(np.sum(p * np.log(p / q), -1)))
    return found


@pytest.mark.parametrize(
    ("activation", "mimic", "chunks"),
    [("relu", "output", PERMUTED), ("tanh", "auto", PERMUTED), ("tanh", "output", [8])],
)
def test_the_loss_is_the_divergence_with_one_chunk_replaced(activation, mimic, chunks):
    teacher, x = dense_teacher(activation), samples()
    model = ensemble(teacher=teacher, chunks=chunks, mimic=mimic, task_weight=0.5)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    expected = divergences(model, teacher, x, linear=mimic == "auto")
    found = [logs[f"task_{i}"] for i in range(len(chunks))]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    mimicry = sum(logs[f"student_{i}"] for i in range(len(chunks)))
    np.testing.assert_allclose(logs["loss"], mimicry + 0.5 * sum(found), rtol=1e-5)


def test_exact_students_have_no_loss_and_the_live_head_is_used():
    teacher, x = dense_teacher(), samples()
    students = exact_students(teacher, "features", PERMUTED)
    model = ensemble(students, teacher, chunks=PERMUTED, task_weight=1.0)
    np.testing.assert_allclose(model.evaluate(x, verbose=0), 0, atol=1e-6)
    model = ensemble(teacher=teacher, task_weight=1.0)
    head = teacher.get_layer("head")
    head.set_weights([0 * weight for weight in head.get_weights()])
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["task_0"] == logs["task_1"] == 0


def test_a_student_trained_alone_gets_the_weights_of_the_joint_fit():
    def run(teacher, only=None, weight=1.0):
        model = ensemble(stateful_student, teacher, n=3, only=only, task_weight=weight)
        keras.utils.set_random_seed(9)
        return model, model.fit(samples(), batch_size=8, verbose=0).history

    teacher = dense_teacher()
    before = teacher.get_weights()
    (joint, together), (alone, apart) = run(teacher), run(teacher, only=[1])
    assert set(apart) == {"loss", "student_1", "task_1"}
    for one, other in zip(joint.students[1].get_weights(), alone.students[0].weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert apart["task_1"] == together["task_1"]
    without, _ = run(teacher, only=[1], weight=0.0)
    kernels = [model.students[0].get_weights()[0] for model in (alone, without)]
    assert not np.array_equal(*kernels)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_maps_have_one_divergence_per_position_and_binary_outputs_two_classes():
    keras.utils.set_random_seed(1)
    features = layers.Conv2D(4, 1, activation="relu", name="features")
    parts = [keras.Input((3, 3, 2)), features, layers.Conv2D(1, 1, activation="sigmoid")]
    teacher = keras.Sequential(parts)
    x = np.random.default_rng(0).normal(size=(5, 3, 3, 2)).astype("float32")
    student = lambda n: keras.Sequential([keras.Input((3, 3, 2)), layers.Conv2D(n, 1)])  # noqa: E731
    model = ensemble(student, teacher, n=2, task_weight=1.0)
    values = values_at(teacher, "features", x).copy()
    values[..., :2] = model.predict(x, verbose=0)[0]
    p, q = (np.float64(one) for one in (teacher(x), teacher.layers[-1](np.maximum(values, 0))))
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    found = model.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["task_0"], expected, rtol=1e-3)


@pytest.mark.traced
@pytest.mark.slow
def test_a_compiled_step_uses_a_changed_weight_and_a_file_keeps_it(tmp_path):
    teacher, x = dense_teacher(), samples()
    model = ensemble(teacher=teacher, eager=False, task_weight=1.0)
    model.evaluate(x, verbose=0)
    model.task_loss.weight = 3.0
    logs = model.evaluate(x, verbose=0, return_dict=True)
    parts = [logs[f"student_{i}"] + 3 * logs[f"task_{i}"] for i in range(2)]
    np.testing.assert_allclose(logs["loss"], sum(parts), rtol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    loaded.set_teacher(teacher)
    assert loaded.evaluate(x, verbose=0, return_dict=True) == logs


def test_joined_data_need_the_live_head(tmp_path):
    teacher, x = dense_teacher(), samples(16)
    cache = kd.KnowledgeCache.build(
        teacher, x, tmp_path, ["features"], dtype="float32", verbose=0, batch_size=8
    )
    live = ensemble(teacher=teacher, task_weight=1.0)
    expected = live.evaluate(x, verbose=0)
    joined = cache.join(tf.data.Dataset.from_tensor_slices(x).batch(16))
    np.testing.assert_allclose(live.evaluate(joined, verbose=0), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="only in a cache. Pass the model.*mimic='output'"):
        ensemble(teacher=cache.teachers[0], task_weight=1.0)
    with pytest.raises(ValueError, match="only in a cache. Pass the model.*mimic='output'"):
        live.set_teacher(cache.teachers[0])


def regression():
    features = layers.Dense(8, activation="relu", name="features")
    teacher = keras.Sequential([keras.Input((6,)), features, layers.Dense(3)])
    teacher.compile(loss="mse")
    return teacher


def two_outputs():
    teacher = dense_teacher()
    x = teacher.get_layer("features").output
    return keras.Model(teacher.inputs, [teacher.get_layer("head")(x), layers.Dense(2)(x)])


@pytest.mark.parametrize(
    ("teacher", "weight", "sentence"),
    [
        (regression, 1.0, r"is numbers \(regression\). Pass task_weight=0"),
        (two_outputs, 1.0, "needs a teacher with one output"),
        (dense_teacher, -1, "must be a finite number, at least 0. Received: task_weight=-1"),
        (dense_teacher, "1", "must be a finite number, at least 0. Received: task_weight='1'"),
    ],
)
def test_teachers_without_classes_and_wrong_weights_are_rejected(teacher, weight, sentence):
    with pytest.raises(ValueError, match=sentence):
        ensemble(teacher=teacher(), task_weight=weight)
