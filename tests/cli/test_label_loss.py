"""The loss of the labels, found by the model's last layer and by what the labels are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.cli.label_loss import labels_loss

X = np.random.default_rng(0).random((12, 4), "float32")
CLASSES = np.arange(12) % 3
ROWS = np.eye(3, dtype="float32")[CLASSES]


def model(units, last, *more):
    return keras.Sequential([layers.Input((4,)), layers.Dense(units, last), *more])


@pytest.mark.parametrize(
    ("units", "last", "labels", "loss", "logits"),
    [
        (3, None, CLASSES, keras.losses.SparseCategoricalCrossentropy, True),
        (3, "softmax", CLASSES, keras.losses.SparseCategoricalCrossentropy, False),
        (3, None, ROWS, keras.losses.CategoricalCrossentropy, True),
        (3, "softmax", ROWS, keras.losses.CategoricalCrossentropy, False),
        (3, "sigmoid", ROWS, keras.losses.BinaryCrossentropy, False),
        (1, None, CLASSES % 2, keras.losses.BinaryCrossentropy, True),
        (1, "sigmoid", CLASSES % 2, keras.losses.BinaryCrossentropy, False),
    ],
)
def test_loss_and_accuracy_are_those_of_the_output_and_the_labels(
    units, last, labels, loss, logits
):
    made = model(units, last)
    found, metric = labels_loss(made, tf.TensorSpec((None, *labels.shape[1:])))
    assert type(found) is loss
    assert found.get_config()["from_logits"] == logits
    values = made.predict_on_batch(X)
    metric.update_state(labels[:, None] if units == 1 else labels, values)
    if units == 1:
        right = (values[:, 0] > (0 if logits else 0.5)) == labels
    elif last == "sigmoid":
        right = (values > 0.5) == labels
    else:
        right = values.argmax(-1) == CLASSES
    assert float(metric.result()) == pytest.approx(right.mean())


def test_what_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match="whether the output of .* is logits or probabilities"):
        labels_loss(model(3, "tanh"), tf.TensorSpec((None,)))
    inputs = layers.Input((4,))
    two = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="Expected a model of one output .* with 2 outputs"):
        labels_loss(two, tf.TensorSpec((None,)))
