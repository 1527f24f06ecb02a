"""The loss on the labels matches the task, the last layer and the type of the labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.training.label_loss import UndeclaredTaskError, find_task, label_loss

RNG = np.random.default_rng(0)
X = RNG.random((12, 4), "float32")
CLASSES = np.arange(12) % 3
ROWS = np.eye(3, dtype="float32")[CLASSES]
TAGS = RNG.integers(0, 2, (12, 3))
NUMBERS = RNG.normal(size=(12, 3)).astype("float32")


def model(units, last, *more):
    return keras.Sequential([layers.Input((4,)), layers.Dense(units, last), *more])


def spec(labels):
    return tf.TensorSpec((None, *labels.shape[1:]))


@pytest.mark.parametrize(
    ("units", "last", "labels", "loss", "logits"),
    [
        (3, None, CLASSES, keras.losses.SparseCategoricalCrossentropy, True),
        (3, None, CLASSES[:, None], keras.losses.SparseCategoricalCrossentropy, True),
        (3, "softmax", CLASSES, keras.losses.SparseCategoricalCrossentropy, False),
        (3, None, ROWS, keras.losses.CategoricalCrossentropy, True),
        (3, "softmax", ROWS, keras.losses.CategoricalCrossentropy, False),
        (3, "sigmoid", ROWS, keras.losses.BinaryCrossentropy, False),
        (3, None, TAGS, keras.losses.BinaryCrossentropy, True),
        (1, None, CLASSES % 2, keras.losses.BinaryCrossentropy, True),
        (1, "sigmoid", CLASSES % 2, keras.losses.BinaryCrossentropy, False),
    ],
)
def test_loss_and_accuracy_match_the_output_and_the_labels(units, last, labels, loss, logits):
    network = model(units, last)
    task = find_task(network, [labels[:5], labels[5:]])
    found = label_loss(network, spec(labels), task)
    assert type(found.loss) is loss
    assert found.loss.get_config()["from_logits"] == logits
    values = network.predict_on_batch(X)
    found.metric.update_state(labels[:, None] if units == 1 else labels, values)
    if units == 1:
        correct = (values[:, 0] > (0 if logits else 0.5)) == labels
    elif task == "labels":
        correct = (values > (0 if logits else 0.5)) == labels
    else:
        correct = values.argmax(-1) == CLASSES
    assert float(found.metric.result()) == pytest.approx(correct.mean())


@pytest.mark.parametrize(
    ("units", "last", "labels"),
    [(3, None, NUMBERS), (3, "tanh", TAGS), (1, None, NUMBERS[:, 0]), (1, None, CLASSES)],
)
def test_numbers_have_a_squared_error(units, last, labels):
    network = model(units, last)
    found = label_loss(network, spec(labels), find_task(network, [labels[:2], labels[2:]]))
    assert (found.task, type(found.loss)) == ("values", keras.losses.MeanSquaredError)
    values = network.predict_on_batch(X)
    found.metric.update_state(labels, values[:, 0] if labels.ndim == 1 else values)
    error = np.sqrt(((values - labels.reshape(len(labels), -1)) ** 2).mean())
    assert float(found.metric.result()) == pytest.approx(error, rel=1e-5)


def test_an_option_declares_what_cannot_be_detected():
    network = model(3, None)
    assert find_task(network, [ROWS], "labels") == "labels"
    assert find_task(network, [TAGS], "values") == "values"
    hidden = keras.Sequential([network, layers.Lambda(lambda z: 1 / (1 + keras.ops.exp(-z)))])
    hidden(X)
    with pytest.raises(UndeclaredTaskError, match="may be logits or probabilities"):
        label_loss(hidden, spec(TAGS), find_task(hidden, [TAGS]))
    found = label_loss(
        hidden, spec(TAGS), find_task(hidden, [TAGS], "probabilities"), "probabilities"
    )
    assert found.loss.get_config()["from_logits"] is False


@pytest.mark.parametrize(
    ("last", "labels", "outputs", "message"),
    [
        ("sigmoid", CLASSES, "auto", "independent labels: expected 0 or 1"),
        ("softmax", NUMBERS, "auto", "mutually exclusive classes"),
        (None, NUMBERS, "logits", "the labels contradict it"),
        (None, np.array(["a"] * 12), "auto", "it is not known whether"),
        (None, CLASSES + 1, "auto", "class numbers from 0 to 2"),
    ],
)
def test_labels_of_another_task_are_rejected(last, labels, outputs, message):
    with pytest.raises(UndeclaredTaskError, match=message):
        find_task(model(3, last), [labels], outputs)


def test_several_outputs_and_labels_are_rejected():
    inputs = layers.Input((4,))
    two = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="Expected a model with one output.* with 2 outputs"):
        find_task(two, [CLASSES])
    with pytest.raises(ValueError, match="Expected one label.*Received: 2 labels"):
        find_task(model(3, None), [(CLASSES, CLASSES)])
