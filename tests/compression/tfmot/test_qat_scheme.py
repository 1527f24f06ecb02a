"""The int8 scheme quantizes each layer according to its plan."""

import numpy as np
import pytest
import tf_keras
from keras import layers

import keras_kd as kd
from keras_kd.compression.tfmot.qat_plan import QuantizationPlan
from keras_kd.compression.tfmot.qat_scheme import (
    DepthwiseQuantizer,
    OutputConfig,
    PlannedRegistry,
    quantize_model,
)
from tests.compression import files
from tests.compression.qat_tfmot import positive_input, prepare, stack


def test_a_depthwise_kernel_has_one_scale_per_channel_in_the_file(tmp_path):
    depthwise = layers.DepthwiseConv2D(3, name="depthwise")
    student = stack(depthwise, shape=(8, 8, 4))
    kernel = depthwise.kernel.numpy() * np.array([0.001, 1, 100, 1]).reshape(1, 1, 4, 1)
    depthwise.set_weights([kernel, depthwise.bias])
    model = prepare(student, positive_input(student, 4)).wrapped.model
    kd.export.to_tflite(model, tmp_path / "q.tflite", "int8")
    in_file = next(k for k in files.kernels(tmp_path / "q.tflite") if k.shape[:3] == (1, 3, 3))
    assert np.abs(in_file).max(axis=(0, 1, 2)).min() == 127


@pytest.mark.parametrize(("target", "count"), [("output", 1), ("nothing", 0)])
def test_the_output_or_nothing_is_quantized(target, count):
    layer = tf_keras.layers.Softmax(name="own")
    registry = PlannedRegistry({"own": QuantizationPlan("kept", "", target)})
    config = registry.get_quantize_config(layer)
    assert registry.supports(layer)
    assert not registry.supports(tf_keras.layers.Softmax(name="other"))
    assert len(config.get_output_quantizers(layer)) == count
    assert config.get_weights_and_quantizers(layer) == []
    assert config.get_activations_and_quantizers(layer) == []
    assert OutputConfig(**config.get_config()).output == config.output


def test_depthwise_weights_have_their_own_quantizer():
    layer = tf_keras.layers.DepthwiseConv2D(3, name="own")
    layer.build((None, 8, 8, 4))
    registry = PlannedRegistry({"own": QuantizationPlan("quantized", "", "weights")})
    config = registry.get_quantize_config(layer)
    ((_, quantizer),) = config.get_weights_and_quantizers(layer)
    assert isinstance(quantizer, DepthwiseQuantizer)


def test_layers_without_a_plan_stay_in_float():
    x = tf_keras.Input((4,), dtype="int32")
    embedded = tf_keras.layers.Embedding(9, 3, name="embedding")(x)
    hidden = tf_keras.layers.Dense(3, name="hidden")(embedded)
    model = tf_keras.Model([x], [tf_keras.layers.Dense(2, name="head")(hidden)])
    quantized = quantize_model(model, {"hidden": QuantizationPlan("quantized", "", "weights")})
    kinds = [type(layer).__name__ for layer in quantized.layers]
    assert kinds == ["InputLayer", "Embedding", "QuantizeWrapperV2", "Dense"]
    for name in ("embedding", "head"):
        for old, new in zip(
            model.get_layer(name).get_weights(),
            quantized.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)
