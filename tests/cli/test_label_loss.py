"""An undeclared task names the option that declares it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_kd.cli.label_loss import find_task, label_loss
from keras_kd.cli.output import UsageError


@pytest.fixture
def network():
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])


def test_a_command_has_the_rules_of_the_package(network):
    task = find_task(network, [np.arange(3)], "auto")
    assert task == "classes"
    assert label_loss(network, tf.TensorSpec((None,)), task, "auto").metric.name == "accuracy"


def test_an_error_names_the_option(network):
    with pytest.raises(UsageError, match="contradict it: pass --outputs logits, probabilities"):
        find_task(network, [np.full((3, 3), 0.5)], "logits")
    hidden = keras.Sequential([network, keras.layers.Lambda(keras.ops.sigmoid)])
    hidden(np.zeros((1, 4)))
    with pytest.raises(UsageError, match="may be logits or probabilities.*pass --outputs"):
        label_loss(hidden, tf.TensorSpec((None, 3)), "labels", "auto")
