"""Layers stay in float32: those that are named, or the fewest that hold the accuracy."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import VerificationError, layer_errors, to_tflite
from keras_kd.litert.flatbuffer import operators, parse

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6, 6, 4)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """A model that enlarges a channel, which leaves few of the 8-bit steps to the others."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = layers.DepthwiseConv2D(1, name="enlarge")(x)
    x = layers.DepthwiseConv2D(1, name="shrink")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    scales = np.float32([4000.0, 1.0, 1.0, 1.0]).reshape(1, 1, 4, 1)
    model.get_layer("enlarge").set_weights([scales, np.zeros(4)])
    model.get_layer("shrink").set_weights([1 / scales, np.zeros(4)])
    return model


@pytest.fixture(scope="module")
def labeled(model):
    return X, model.predict(X, verbose=0).argmax(-1)


def float_ops(file):
    """Return the ops whose output is in float32."""
    model = parse(file.path.read_bytes())
    graph = model.subgraphs[0]
    found = [op for op, x in operators(model, graph) if graph.tensors[x.outputs[0]].type == 0]
    return [op for op in found if op != "DEQUANTIZE"]


def test_the_fewest_layers_hold_the_accuracy(model, labeled, tmp_path):
    options = {"calibration": X, "verification": labeled, "max_drop": 3.0}
    path = tmp_path / "m.tflite"
    with pytest.raises(VerificationError, match="loses .* points of accuracy"):
        to_tflite(model, path, "int8", **options)
    file = to_tflite(model, path, "int8", keep_float="auto", **options)
    assert sorted(file.float_layers) == ["enlarge", "shrink"]  # Neither is enough alone.
    assert float_ops(file) == ["DEPTHWISE_CONV_2D"] * 2
    assert file.verification.drop <= 3.0
    assert {step.layer for step in layer_errors(file, model, X)} >= {"enlarge", "logits"}


def test_nothing_stays_in_float_without_need(model, labeled, tmp_path):
    options = {"calibration": X, "verification": labeled, "max_drop": 100.0}
    file = to_tflite(model, tmp_path / "m.tflite", "int8", keep_float="auto", **options)
    assert file.float_layers == ()
    assert float_ops(file) == []


def test_named_layers_stay_in_float(model, tmp_path):
    names = ["last", "logits", "last"]
    file = to_tflite(model, tmp_path / "m.tflite", "int8", X, keep_float=names, tolerance=9.0)
    assert file.float_layers == ("last", "logits")
    assert float_ops(file) == ["CONV_2D", "FULLY_CONNECTED"]
    assert (file.inputs, file.outputs) == (("input_0",), ("logits",))


def test_a_file_that_no_choice_saves_is_rejected(model, tmp_path):
    with pytest.raises(VerificationError, match="more than tolerance=0"):
        to_tflite(model, tmp_path / "m.tflite", "int8", X[:9], keep_float="auto", tolerance=0.0)
    assert (tmp_path / "m.rejected.tflite").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_float": ["other"]}, r"Expected names of \['first', 'enlarge'"),
        ({"keep_float": "first"}, 'Expected keep_float="auto" or a list of layers'),
        ({"keep_float": []}, 'Expected keep_float="auto" or a list of layers'),
        ({"keep_float": "auto", "quantization": "int16x8"}, "unless an int8 file has one sig"),
        ({"keep_float": "auto", "signatures": {"a": None, "b": "first"}}, "has one signature"),
        ({"keep_float": "auto", "calibration": None}, "calibration"),
    ],
)
def test_invalid_choices_are_rejected(model, options, message, tmp_path):
    options = {"quantization": "int8", "calibration": X[:8], **options}
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "m.tflite", **options)
