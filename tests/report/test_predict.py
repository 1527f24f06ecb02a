"""One pass over the data set: counts, dense prediction, and data that does not match."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.report.predict import _check_indices, predict_all
from keras_kd.report.predictors import Predictor


def identity(*shape):
    x = layers.Input(shape)
    return keras.Model(x, layers.Rescaling(1.0)(x))


def run(dataset, shape=(3,), others=(), samples=5, verbose=0, ignore_class=None):
    models = {"teacher": identity(*shape), "student": identity(*shape), **dict(others)}
    predictors = [Predictor(name, model) for name, model in models.items()]
    found = predict_all(predictors, dataset, "teacher", "student", samples, verbose, ignore_class)
    assert (found.changes is None) == (found.metrics["teacher"].task in ("labels", "values"))
    return found.metrics, found.disagreements, found.samples


VALUES = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
LABELS = np.array([0, 1, 1, -1])


def test_batches_are_added_up():
    metrics, disagreements, count = run([(VALUES[:3], LABELS[:3]), (VALUES[3:], LABELS[3:])])
    assert count == 4
    assert metrics["student"].labeled == 3
    assert metrics["student"].per_class == (1, 0.5, None)
    assert metrics["student"].agreement == 1
    assert disagreements.count == 0


def test_disagreements_of_the_student_are_collected():
    x = layers.Input((3,))
    inverted = keras.Model(x, layers.Rescaling(-1.0)(x))
    _, disagreements, _ = run([(VALUES, LABELS)], others=[("student", inverted)], samples=2)
    assert disagreements.count == 4
    assert len(disagreements.samples()) == 2


def test_dense_prediction_counts_every_place():
    values = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 2]]])]
    metrics, disagreements, count = run([(values, np.array([[[0, 1], [2, -1]]]))], (2, 2, 3))
    assert (metrics["student"].labeled, metrics["student"].accuracy, count) == (3, 1, 1)
    assert disagreements.samples() == ()


def test_a_progress_bar_counts_the_batches(capsys):
    dataset = tf.data.Dataset.from_tensor_slices((VALUES, LABELS)).batch(2)
    run(dataset, verbose=1)
    assert "2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "Received: 0 samples, none with a label"),
        ([(VALUES, np.full(4, -1))], "Received: 4 samples, none with a label"),
        ([VALUES], "batches without labels"),
        ([(VALUES, {"a": LABELS, "b": LABELS})], "labels in 2 arrays"),
        ([(VALUES, np.array(["a"] * 4))], "Neither the models nor labels of shape"),
        ([(VALUES, np.full(4, 3))], "class numbers from 0 to 2"),
    ],
)
def test_data_that_does_not_match_is_rejected(dataset, message):
    with pytest.raises(ValueError, match=message):
        run(dataset)


def activated(units, activation):
    x = layers.Input((units,))
    model = keras.Model(x, layers.Dense(units, activation)(x))
    model.set_weights([np.eye(units), np.zeros(units)])
    return model


@pytest.mark.parametrize(
    ("activation", "labels", "task"),
    [
        ("sigmoid", VALUES, "labels"),
        ("tanh", VALUES, "values"),
        ("linear", VALUES[::-1].argmax(1), "classes"),
        ("linear", 1 - VALUES, "labels"),
        ("linear", VALUES * 2.5, "values"),
    ],
)
def test_the_models_or_else_the_labels_tell_the_task(activation, labels, task):
    others = {"teacher": activated(3, activation), "student": activated(3, activation)}
    metrics, disagreements, _ = run([(VALUES, labels)], others=others)
    assert {one.task for one in metrics.values()} == {task}
    assert disagreements.samples() == ()
    assert (metrics["teacher"].fields().get("accuracy") is None) == (task == "values")


def test_one_unit_and_two_units_are_compared_as_two_classes():
    x = layers.Input((2,))
    odds = keras.Model(x, layers.Activation("sigmoid")(layers.Dense(1, use_bias=False)(x)))
    odds.set_weights([np.array([[-1.0], [1.0]])])  # The log-odds of the two logits.
    values = np.random.default_rng(0).normal(size=(9, 2)).astype("float32")
    labels = (values[:, 1] > values[:, 0]).astype(int)
    others = {"teacher": activated(2, "softmax"), "student": odds}
    metrics, _, _ = run([(values, labels)], (2,), others)
    found = metrics["student"].fields()
    assert (found["accuracy"], found["agreement"]) == (1, 1)
    assert found["divergence"] == pytest.approx(0, abs=1e-6)


def test_void_labels_are_not_counted():
    labels = np.array([0, 1, 255, 255])
    with pytest.raises(ValueError, match="class numbers from 0 to 2.*Pass ignore_class=255"):
        run([(VALUES, labels)])
    metrics, _, _ = run([(VALUES, labels)], ignore_class=255)
    assert (metrics["teacher"].labeled, metrics["teacher"].accuracy) == (2, 1)
    compiled = identity(3)
    compiled.compile(loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    metrics, _, _ = run([(VALUES, labels)], others={"student": compiled})
    assert metrics["teacher"].labeled == 2


def test_models_of_different_tasks_are_rejected():
    others = {"teacher": activated(3, "softmax"), "student": activated(3, "sigmoid")}
    with pytest.raises(ValueError, match=r"one task.*'student': 'independent labels'.*outputs"):
        run([(VALUES, LABELS)], others=others)


def test_models_of_other_classes_are_rejected():
    x = layers.Input((3,))
    other = keras.Model(x, layers.Dense(4)(x))
    with pytest.raises(ValueError, match="Expected models of the same classes"):
        run([(VALUES, LABELS)], others=[("other", other)])


def test_a_file_that_predicts_other_classes_is_rejected():
    _check_indices("file", np.array([0, 2]), 3)
    with pytest.raises(
        ValueError, match="same 3 classes. Received: 'file', which predicts class 3"
    ):
        _check_indices("file", np.array([0, 3]), 3)


def test_arrays_are_data_too():
    right = run([(VALUES[:3], LABELS[:3]), (VALUES[3:], LABELS[3:])])
    metrics, _, count = run((VALUES, LABELS))
    assert count == right[2] == 4
    assert metrics["student"].accuracy == right[0]["student"].accuracy
    with pytest.raises(TypeError, match="compare: the data must be"):
        run(None)
