"""The loss on the labels matches the last layer of the model and the type of the labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.cli.label_loss import loss_and_accuracy

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
def test_loss_and_accuracy_match_the_output_and_the_labels(units, last, labels, loss, logits):
    network = model(units, last)
    chosen, metric = loss_and_accuracy(network, tf.TensorSpec((None, *labels.shape[1:])))
    assert type(chosen) is loss
    assert chosen.get_config()["from_logits"] == logits
    values = network.predict_on_batch(X)
    metric.update_state(labels[:, None] if units == 1 else labels, values)
    if units == 1:
        correct = (values[:, 0] > (0 if logits else 0.5)) == labels
    elif last == "sigmoid":
        correct = (values > 0.5) == labels
    else:
        correct = values.argmax(-1) == CLASSES
    assert float(metric.result()) == pytest.approx(correct.mean())


def test_ambiguous_outputs_and_several_outputs_are_rejected():
    with pytest.raises(ValueError, match="may be logits or probabilities"):
        loss_and_accuracy(model(3, "tanh"), tf.TensorSpec((None,)))
    inputs = layers.Input((4,))
    two = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="Expected a model with one output .* with 2 outputs"):
        loss_and_accuracy(two, tf.TensorSpec((None,)))
