"""Tracing: graphs by signature, in float32, with loops or without."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.export import saved_model
from keras_kd.export.pre_post_processing import Processing
from keras_kd.litert.signature import infer_signature
from tests.export import models


def trace(model, batch_size=1, signatures=None, loops=True):
    return saved_model.trace(
        model,
        infer_signature(model),
        batch_size,
        lambda shapes: Processing(),
        signatures or {"main": None},
        loops,
    )


def test_each_signature_has_a_graph():
    model = models.cnn()
    traced = trace(model, None, {"classify": None, "embed": "flatten"})
    assert traced.outputs == {"classify": ("logits",), "embed": ("flatten",)}
    assert traced.shapes == {"logits": (None, 10)}
    hidden = keras.Model(model.inputs, model.get_layer("flatten").output)
    for key, part in {"classify": model, "embed": hidden}.items():
        (values,) = traced.functions[key](input_0=tf.constant(models.IMAGES)).values()
        np.testing.assert_allclose(values, part.predict_on_batch(models.IMAGES), atol=1e-5)


def test_an_unknown_tap_is_rejected():
    with pytest.raises(ValueError, match="has no layer or output 'dens'"):
        trace(models.cnn(), signatures={"a": "dens"})


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_precision_model_is_traced_in_float32_and_not_changed(policy):
    model = models.mixed(policy)
    weights = model.get_weights()
    traced = trace(model, len(models.IMAGES))
    (values,) = traced.functions["main"](input_0=tf.constant(models.IMAGES)).values()
    expected = models.cnn().predict_on_batch(models.IMAGES)
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, expected, atol=3)
    assert {layer.compute_dtype for layer in model.layers} == {policy.removeprefix("mixed_")}
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_weights_in_half_precision_are_rejected():
    with pytest.raises(ValueError, match=r"Expected a model of float32 weights.*float16.*float32"):
        trace(models.mixed("float16"))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_weights_quantized_by_keras_are_rejected():
    model = models.cnn()
    model.quantize("int8")
    with pytest.raises(ValueError, match=r"Expected a model of float32 weights.*int8"):
        trace(model)


@pytest.mark.parametrize(
    "layer", [layers.LSTM(4), layers.GRU(4), layers.Bidirectional(layers.SimpleRNN(4))]
)
def test_recurrent_layers_are_unrolled_during_the_trace_only(layer):
    model = models.recurrent(layer)
    assert trace(model, loops=False).loop_layers == []
    assert trace(model).loop_layers


def test_other_loops_remain():
    loop = layers.Lambda(lambda x: tf.map_fn(lambda v: v * 2, x)[:, 0], name="mapped")
    (layer,) = trace(models.recurrent(loop), loops=False).loop_layers
    assert layer.startswith("mapped")


def test_a_free_number_of_steps_cannot_be_unrolled():
    model = keras.Sequential([layers.Input((None, 4)), layers.GRU(4), layers.Dense(3)])
    with pytest.raises(ValueError, match="Expected a fixed number of time steps"):
        trace(model, loops=False)


@pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer")
def test_a_model_without_weights_in_some_layers_is_rejected():
    model = models.Subclassed()
    model.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match="built model.*no weights yet.*Call it on a batch"):
        trace(model)


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("sequential_1/dense_1/MatMul", "dense_1"),
        ("outer/inner_2/conv/BiasAdd", "outer/inner/conv"),
        ("unknown/Relu", "unknown"),
        ("lonely", "lonely"),
    ],
)
def test_a_node_belongs_to_a_layer(node, path):
    assert saved_model.layer_of(node, {"dense_1", "outer", "inner", "conv"}) == path
