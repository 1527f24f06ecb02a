"""One pass over the data set: counts, dense prediction, and data that does not match."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.report.predict import predict_all
from keras_kd.report.predictors import Predictor


def identity(*shape):
    x = layers.Input(shape)
    return keras.Model(x, layers.Rescaling(1.0)(x))


def run(dataset, shape=(3,), others=(), samples=5, verbose=0):
    models = {"teacher": identity(*shape), "student": identity(*shape), **dict(others)}
    predictors = [Predictor(name, model) for name, model in models.items()]
    return predict_all(predictors, dataset, "teacher", "student", samples, verbose)


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
        ([(VALUES, np.full(4, 3))], "integer labels from 0 to 2"),
    ],
)
def test_data_that_does_not_match_is_rejected(dataset, message):
    with pytest.raises(ValueError, match=message):
        run(dataset)


def test_models_of_other_classes_are_rejected():
    x = layers.Input((3,))
    other = keras.Model(x, layers.Dense(4)(x))
    with pytest.raises(ValueError, match="Expected models of the same classes"):
        run([(VALUES, LABELS)], others=[("other", other)])
