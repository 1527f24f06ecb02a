"""Pre- and post-processing in the file: normalization, softmax and argmax, labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.export import evaluate, to_tflite
from keras_kd.export.pre_post_processing import (
    Normalization,
    Processing,
    parse_answer,
    parse_labels,
    parse_normalization,
    require_logits,
)
from keras_kd.litert.signature import infer_signature
from tests.export import models

INPUTS = {"image": tf.TensorSpec((None, 8, 8, 1), "float32")}
OUTPUTS = {"logits": (None, 10)}


def logits(images=models.IMAGES):
    return models.cnn().predict_on_batch(images)


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        (None, "Expected `normalization` with raw_inputs=True"),
        (3, r"Expected `normalization` as \(mean, std\)"),
        ((0, 0), "a positive std"),
        (((0, 1), 1), "of one number or 1"),
        ({"x": (0, 1)}, r"Received: one of \['x'\]"),
    ],
)
def test_an_invalid_normalization_is_rejected(normalization, message):
    with pytest.raises(ValueError, match=message):
        parse_normalization(normalization, INPUTS, raw_inputs=True)


def test_several_inputs_need_normalization_by_name():
    inputs = {**INPUTS, "mask": INPUTS["image"]}
    with pytest.raises(ValueError, match=r"by the names of the inputs \['image', 'mask'\]"):
        parse_normalization((0, 1), inputs, raw_inputs=False)
    found = parse_normalization({"mask": (1, [2])}, inputs, raw_inputs=False)
    assert found == {"mask": Normalization((1.0,), (2.0,))}


def test_an_invalid_answer_is_rejected():
    with pytest.raises(ValueError, match=r"an `answer` of \('softmax', 'sigmoid', 'argmax'\)"):
        parse_answer("maximum", OUTPUTS)
    with pytest.raises(ValueError, match="`answer` by the names of the outputs"):
        parse_answer({"x": "softmax"}, OUTPUTS)
    with pytest.raises(ValueError, match="`answer` by the names of the outputs"):
        parse_answer("softmax", {**OUTPUTS, "other": (None, 2)})
    with pytest.raises(ValueError, match="an output of several classes for answer='softmax'"):
        parse_answer("softmax", {"unit": (None, 1)})


def test_labels_name_each_class():
    with pytest.raises(ValueError, match="Expected 10 labels for output"):
        parse_labels(["a", "b"], OUTPUTS)
    assert parse_labels(["no", "yes"], {"unit": (None, 1)}) == {"unit": ("no", "yes")}


@pytest.mark.parametrize(
    "last",
    [layers.Softmax(), layers.Activation("sigmoid"), layers.Lambda(keras.ops.softmax)],
    ids=["softmax", "sigmoid", "lambda"],
)
def test_softmax_is_not_applied_to_probabilities(last):
    model = keras.Sequential([models.cnn(), last])
    with pytest.raises(ValueError, match="which holds probabilities already"):
        require_logits(model, {model.layers[-1].name: "softmax"}, infer_signature(model))


def test_raw_inputs_are_recovered_and_class_indices_compared_as_values():
    processing = Processing({"x": Normalization((30.0,), (60.0,))}, True, {"y": "argmax"})
    raw = {"x": np.array([[0, 255]], "float32"), "other": np.ones((1, 1), "float32")}
    inputs = {name: np.asarray(value) for name, value in processing.preprocess(raw).items()}
    np.testing.assert_allclose(inputs["x"], [[-0.5, 3.75]])
    np.testing.assert_allclose(processing.to_file_inputs(inputs)["x"], raw["x"], atol=1e-4)
    outputs = {"y": np.array([[1.0, 3.0]]), "z": np.array([[2.0]])}
    assert processing.postprocess(outputs)["y"].numpy() == [1]
    assert processing.expected_outputs(outputs) == outputs


def test_a_file_normalizes_raw_inputs(tmp_path):
    raw = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("float32")
    x = (raw - 30) / 60
    options = {"normalization": (30, 60), "raw_inputs": True}
    file = to_tflite(models.cnn(), tmp_path / "m.tflite", **options)
    np.testing.assert_allclose(file.predict(raw), logits(x), atol=1e-4)
    found = evaluate(file, [(x, logits(x).argmax(-1))], model=models.cnn())
    assert found.accuracy == 1
    assert found.relative_difference < 1e-5


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("int8", -128)])
def test_bytes_have_a_scale_of_one(tmp_path, dtype, zero):
    raw = np.random.default_rng(0).integers(5, 200, (40, 8, 8, 1))  # Not all bytes occur.
    x = raw.astype("float32") / 255
    options = {"normalization": (0, 255), "raw_inputs": True, "io_dtype": dtype}
    file = to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", x, **options)
    details = tf.lite.Interpreter(str(file.path)).get_input_details()[0]
    assert details["quantization"] == (1.0, zero)
    np.testing.assert_allclose(file.predict(raw), logits(x), atol=0.1)


def test_a_file_returns_probabilities():
    file = models.export(models.cnn, "int8", answer="softmax")
    values = file.predict(models.IMAGES)
    np.testing.assert_allclose(values.sum(-1), 1, atol=0.02)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits()))
    np.testing.assert_allclose(values, expected, atol=0.05)
    assert file.verification.max_difference < 0.05


@pytest.mark.parametrize(("quantization", "io_dtype"), [("dynamic", "float32"), ("int8", "uint8")])
def test_a_file_returns_class_indices(quantization, io_dtype):
    file = models.export(models.cnn, quantization, answer="argmax", io_dtype=io_dtype)
    values, classes = file.predict(models.IMAGES), logits().argmax(-1)
    assert values.shape == (40,)
    assert (values == classes).mean() >= 0.95
    one_hot = evaluate(file, [(models.IMAGES, np.eye(10)[classes])])
    compared = evaluate(file, [(models.IMAGES, classes)], model=models.cnn())
    assert one_hot.accuracy == compared.accuracy == (values == classes).mean()
    assert (compared.model_accuracy, compared.agreement) == (1, compared.accuracy)
    assert compared.max_difference is None
