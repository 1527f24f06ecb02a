"""Weightless Keras 3 layers and operations run inside a tf_keras layer."""

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras import ops

from keras_kd.compression.tfmot.convert import to_tf_keras
from keras_kd.compression.tfmot.keras3_op_layer import Keras3OpLayer, OpCall
from tests.compression import models


def test_tensors_replace_the_placeholders_in_order():
    placeholder = keras.KerasTensor((None,))
    op_call = OpCall(lambda a, b, c: (a - b) * c, (placeholder, placeholder), {"c": 10})
    assert float(op_call([tf.constant(5.0), tf.constant(2.0)])) == 30.0


def test_the_layer_runs_the_operation():
    placeholder = keras.KerasTensor((None, 2))
    layer = Keras3OpLayer.from_call(OpCall(ops.add, (placeholder, placeholder), {}), "sum")
    values = layer([tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0]])])
    np.testing.assert_array_equal(values, [[4.0, 6.0]])
    assert layer.name == "sum"


def test_a_custom_layer_without_weights_runs_in_the_model_and_its_copy():
    model = models.of(models.Halve(), (6,))
    converted = to_tf_keras(model, custom={models.Halve: "as_is"})
    x = np.arange(12.0, dtype="float32").reshape(2, 6)
    np.testing.assert_array_equal(converted(x), model(x))
    np.testing.assert_array_equal(tf_keras.models.clone_model(converted)(x), model(x))


def test_only_layers_that_support_masking_pass_a_mask_on():
    call = ((keras.KerasTensor((None, 2)),), {})
    passing = Keras3OpLayer.from_call(OpCall(keras.layers.Activation("relu"), *call), "a")
    stopping = Keras3OpLayer.from_call(OpCall(ops.relu, *call), "b")
    mask = tf.constant([True, False])
    assert passing.compute_mask(None, mask) is mask
    assert stopping.compute_mask(None, mask) is None
