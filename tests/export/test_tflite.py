"""Export of a Keras model: the file has the outputs of the model, or is rejected."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from keras_kd import datasets
from keras_kd.export import evaluate, to_tflite
from keras_kd.litert.cost import cost
from keras_kd.litert.flatbuffer import flex_ops, main_signature
from tests.export import models


@pytest.fixture(scope="module")
def digits():
    """A small CNN trained on the digits, and its test accuracy."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.9),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(datasets.load("digits", batch_size=64), epochs=8, verbose=0)
    return model


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "int8"])
def test_a_trained_model_keeps_its_accuracy(digits, tmp_path, quantization):
    calibration, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    path = tmp_path / "digits.tflite"
    file = to_tflite(digits, path, quantization, calibration, verification=test)
    scores = file.verification
    assert scores.model_accuracy > 0.95
    assert abs(scores.drop) <= 0.5
    assert scores.agreement >= 0.99
    assert scores.max_difference < (1e-4 if quantization == "float32" else 1.5)
    assert not flex_ops(path.read_bytes())


@pytest.mark.parametrize(
    ("make", "quantization"),
    [
        (models.cnn, "float32"),
        (models.cnn, "float16"),
        (models.cnn, "int8"),
        (models.tokens, "dynamic"),
        (models.tokens, "int8"),
        (models.raw_bytes, "int8"),
        (models.dense_prediction, "int8"),
        (models.two_in_two_out, "float32"),
        (models.two_in_two_out, "int8"),
    ],
)
def test_the_file_has_the_outputs_of_the_model(make, quantization):
    tolerance = {"float32": 1e-5, "float16": 2e-3}.get(quantization, 0.1)
    for score in models.export(make, quantization).verification.outputs.values():
        assert score.max_difference < tolerance
        assert score.agreement >= 0.9


@pytest.mark.parametrize(
    ("batch_size", "quantization"), [(1, "float32"), (7, "int8"), (None, "int8")]
)
def test_any_number_of_samples_runs_with_any_batch_size(batch_size, quantization):
    options = {} if batch_size == 1 else {"batch_size": batch_size}
    file = models.export(models.cnn, quantization, **options)
    shape = Interpreter(str(file.path)).get_input_details()[0]["shape_signature"]
    assert shape[0] == (batch_size or -1)
    expected = models.cnn().predict_on_batch(models.IMAGES)
    tolerance = 1e-5 if quantization == "float32" else 0.1
    for count in (1, 5, 40):
        values = file.predict(models.IMAGES[:count])
        np.testing.assert_allclose(values, expected[:count], atol=tolerance)


def test_dictionaries_of_inputs_and_outputs_keep_their_keys(tmp_path):
    model = models.dict_in_dict_out()
    x = {"right": models.PAIR[0], "left": models.PAIR[1]}
    file = to_tflite(model, tmp_path / "m.tflite", "int8", x)
    values, expected = file.predict(x), model.predict_on_batch(x)
    assert set(values) == {"first", "second"}
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], atol=0.1)


def test_a_subclassed_model_is_exported_in_inference_mode(tmp_path):
    model = models.Subclassed()
    expected = model.predict(models.IMAGES, verbose=0)
    file = to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES)
    np.testing.assert_allclose(file.predict(models.IMAGES), expected, atol=0.05)


def test_a_subclassed_model_takes_an_input_signature(tmp_path):
    model, x = models.SubclassedDict(), models.SUBCLASSED_DICT_INPUT
    expected, path = model(x), tmp_path / "m.tflite"
    file = to_tflite(model, path, input_signature=models.SUBCLASSED_DICT_SIGNATURE)
    values = file.predict(x)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, atol=1e-5)
    details = Interpreter(str(path)).get_signature_runner().get_input_details()
    assert {name: d["dtype"] for name, d in details.items()} == {"u": np.float32, "i": np.int32}


def test_a_mixed_precision_model_is_exported(tmp_path):
    model = models.mixed("mixed_float16")
    file = to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES)
    assert file.verification.max_difference < 0.1


def test_an_output_that_occurs_twice_has_two_names(tmp_path):
    x = layers.Input((4,), name="x")
    y = layers.Dense(3, name="y")(x)
    values = to_tflite(keras.Model(x, [y, y]), tmp_path / "m.tflite").predict(models.PAIR[0])
    assert list(values) == ["y", "y_1"]
    np.testing.assert_array_equal(values["y"], values["y_1"])


def test_a_file_has_several_signatures(tmp_path):
    model, taps = models.cnn(), {"classify": None, "embed": "flatten"}
    path = tmp_path / "m.tflite"
    file = to_tflite(model, path, "int8", models.IMAGES, signatures=taps)
    assert Interpreter(str(path)).get_signature_list().keys() == taps.keys()
    for key in taps:
        found = evaluate(path, [models.IMAGES], model=model, signature=key)
        assert found.relative_difference < 0.1
    np.testing.assert_array_equal(
        file.predict(models.IMAGES), file.predict(models.IMAGES, signature="classify")
    )
    assert file.size < 1.5 * models.export(models.cnn, "int8").size  # The weights are shared.


def test_the_first_signature_is_the_main_graph_whatever_its_name(tmp_path):
    model, taps = models.cnn(), {"serving_default": None, "embed": "flatten"}
    file = to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES, signatures=taps)
    assert main_signature(file.path.read_bytes()) == "serving_default"
    assert file.predict(models.IMAGES).shape == (40, 10)
    assert evaluate(file, [models.IMAGES], model=model).relative_difference < 0.1


def test_recurrent_layers_are_loops_in_float_formats(tmp_path):
    model = models.recurrent(layers.LSTM(8))
    file = to_tflite(model, tmp_path / "m.tflite", "dynamic", models.SERIES)
    assert "WHILE" in cost(file.path.read_bytes()).ops
    assert file.verification.max_difference < 0.01


@pytest.mark.parametrize(
    ("layer", "quantization"),
    [
        (layers.GRU(4), "int8"),
        (layers.SimpleRNN(4), "int16x8"),
        (layers.Bidirectional(layers.LSTM(4)), "int8"),
    ],
    ids=["gru", "simple", "bidirectional"],
)
def test_recurrent_layers_are_unrolled_in_integer_formats(tmp_path, layer, quantization):
    model = keras.Sequential([layers.Input((6, 4)), models.recurrent(layer)])
    file = to_tflite(model, tmp_path / "m.tflite", quantization, models.SERIES)
    assert file.verification.relative_difference < 0.2
    assert "WHILE" not in cost(file.path.read_bytes()).ops


def test_other_loops_are_rejected_in_integer_formats(tmp_path):
    loop = layers.Lambda(lambda x: tf.map_fn(lambda v: v * 2, x)[:, 0], name="mapped")
    with pytest.raises(ValueError, match=r"a loop outside Keras's rec.*\['mapped.*\].*\"dynamic"):
        to_tflite(models.recurrent(loop), tmp_path / "m.tflite", "int8", models.SERIES)
    assert not list(tmp_path.iterdir())


def test_a_recurrent_layer_needs_a_fixed_batch_size():
    with pytest.raises(ValueError, match=r"fixed batch size.*batch_size=None. Use batch_size=1"):
        models.convert(models.recurrent(layers.GRU(4)), batch_size=None)


def test_only_a_keras_model_can_be_exported(tmp_path):
    with pytest.raises(TypeError, match=r"must be a keras.Model .*Received: 'model.keras'"):
        to_tflite("model.keras", tmp_path / "m.tflite")


@pytest.mark.parametrize("model", [keras.Sequential([layers.Dense(3)]), models.Subclassed()])
def test_an_unbuilt_model_is_rejected(tmp_path, model):
    with pytest.raises(ValueError, match="not built"):
        to_tflite(model, tmp_path / "m.tflite")


def test_an_invalid_path_is_rejected_before_the_conversion(tmp_path):
    with pytest.raises(ValueError, match="ends in '.tflite'"):
        to_tflite(models.cnn(), tmp_path / "model.keras")
    with pytest.raises(OSError, match="Expected a writable folder. Received: '/proc'"):
        to_tflite(models.cnn(), "/proc/m.tflite")


def test_an_invalid_option_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="Expected 10 labels for output"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", labels=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_attention_over_padded_steps_is_quantized(tmp_path):
    """With the masked logits of Keras, -1e9, the relative difference is 0.8."""
    keras.utils.set_random_seed(0)
    x, mask = keras.Input((12, 8), name="x"), keras.Input((12,), dtype="bool", name="mask")
    attended = layers.MultiHeadAttention(2, 8)(x, x, attention_mask=mask[:, None])
    outputs = layers.Dense(4)(layers.GlobalAveragePooling1D()(attended))
    model = keras.Model({"x": x, "mask": mask}, outputs)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.0, 0.8, weight.shape) for weight in model.get_weights()])
    data = {
        "x": rng.normal(size=(64, 12, 8)).astype("float32"),
        "mask": np.arange(12) < rng.integers(3, 13, (64, 1)),
    }
    file = to_tflite(model, tmp_path / "file.tflite", "int8", data)
    assert file.verification.relative_difference < 0.1
