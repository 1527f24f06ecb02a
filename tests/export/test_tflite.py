"""Conversion: what is in the file, and what is refused before there is one."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from keras_kd import datasets
from keras_kd.export import evaluate, to_tflite
from keras_kd.litert.cost import cost
from keras_kd.litert.flatbuffer import flex_ops
from tests.export import models


@pytest.fixture(scope="module")
def digits():
    """A small CNN that has learnt the digits."""
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
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(datasets.load("digits", batch_size=64), epochs=8, verbose=0)
    return model


@pytest.mark.parametrize("quantization", models.QUANTIZATIONS)
def test_a_trained_model_keeps_its_accuracy_in_every_format(digits, tmp_path, quantization):
    test = datasets.load("digits", "test")
    accuracy = digits.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    calibration = datasets.load("digits", "train")
    tflite = to_tflite(digits, tmp_path / "digits.tflite", quantization, calibration)
    result = evaluate(tflite, test, model=digits)
    assert accuracy > 0.95
    assert abs(result.accuracy - accuracy) <= 0.005
    assert result.agreement >= 0.99
    assert result.max_difference < {"float32": 1e-4, "float16": 0.05}.get(quantization, 1.5)
    assert not flex_ops(tflite.path.read_bytes())


def test_smaller_formats_give_smaller_files(digits, tmp_path):
    calibration = datasets.load("digits", "train")
    sizes = [
        to_tflite(digits, tmp_path / "m.tflite", quantization, calibration).size
        for quantization in ("float32", "float16", "int8")
    ]
    assert sizes[0] > 1.5 * sizes[1]
    assert sizes[1] > 1.4 * sizes[2]


def test_int8_means_integer_activations_between_float_ends(digits, tmp_path):
    tflite = to_tflite(digits, tmp_path / "m.tflite", "int8", models.IMAGES)
    interpreter = Interpreter(str(tflite.path))
    assert interpreter.get_input_details()[0]["dtype"] == np.float32
    assert interpreter.get_output_details()[0]["dtype"] == np.float32
    graph = schema.ModelT.InitFromPackedBuf(tflite.path.read_bytes(), 0).subgraphs[0]
    floats = [t for t in graph.tensors if t.type == schema.TensorType.FLOAT32]
    assert len(floats) == 2


@pytest.mark.parametrize(
    ("make", "x", "quantization"),
    [
        *((models.cnn, models.IMAGES, quantization) for quantization in models.QUANTIZATIONS),
        *((models.tokens, models.TOKENS, quantization) for quantization in ("dynamic", "int8")),
        *((models.raw_bytes, models.BYTES, quantization) for quantization in ("float32", "int8")),
        *(
            (models.dense_prediction, models.IMAGES, quantization)
            for quantization in ("float16", "int8")
        ),
        *(
            (models.two_in_two_out, models.PAIR, quantization)
            for quantization in models.QUANTIZATIONS
        ),
    ],
)
def test_the_file_gives_what_the_model_gives(make, x, quantization, tmp_path):
    keras.utils.set_random_seed(0)
    model = make()
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, x)
    result = evaluate(tflite, [(x,)], model=model)
    tolerance = {"float32": 1e-5, "float16": 2e-3}.get(quantization, 0.1)
    for score in result.outputs.values():
        assert score.max_difference < tolerance
        assert score.agreement >= 0.9


def test_the_batch_is_one_unless_asked(tmp_path):
    model = models.cnn()

    def shape(**kwargs):
        tflite = to_tflite(model, tmp_path / "m.tflite", **kwargs)
        return Interpreter(str(tflite.path)).get_input_details()[0]["shape_signature"][0]

    assert [shape(), shape(batch_size=4), shape(batch_size=None)] == [1, 4, -1]


@pytest.mark.parametrize(
    ("batch_size", "quantization"),
    [(1, "float32"), (4, "int8"), (7, "float32"), (None, "float32"), (None, "int8")],
)
def test_any_number_of_samples_runs_through_any_batch_size(tmp_path, batch_size, quantization):
    model = models.cnn()
    kwargs = {"calibration": models.IMAGES, "batch_size": batch_size}
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, **kwargs)
    expected = model.predict_on_batch(models.IMAGES)
    tolerance = 1e-5 if quantization == "float32" else 0.1
    for count in (1, 5, 40):
        values = tflite.predict(models.IMAGES[:count])
        np.testing.assert_allclose(values, expected[:count], atol=tolerance)


def test_several_outputs_come_by_name_in_the_models_order(tmp_path):
    model = models.two_in_two_out()
    tflite = to_tflite(model, tmp_path / "m.tflite")
    assert (tflite.inputs, tflite.outputs) == (("b", "a"), ("z", "y"))
    values = tflite.predict(models.PAIR)
    assert list(values) == ["z", "y"]
    for value, expected in zip(values.values(), model.predict_on_batch(models.PAIR), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)
    by_name = tflite.predict({"a": models.PAIR[1], "b": models.PAIR[0]})
    np.testing.assert_array_equal(by_name["z"], values["z"])


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_dictionaries_go_in_and_come_out_by_their_keys(tmp_path, quantization):
    model = models.dict_in_dict_out()
    x = {"right": models.PAIR[0], "left": models.PAIR[1]}
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, x)
    values, expected = tflite.predict(x), model.predict_on_batch(x)
    assert set(values) == {"first", "second"}
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], atol=0.1)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_subclassed_model_is_exported_as_it_predicts(tmp_path, quantization):
    model = models.Subclassed()
    expected = model.predict(models.IMAGES, verbose=0)
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, models.IMAGES)
    np.testing.assert_allclose(tflite.predict(models.IMAGES), expected, atol=0.05)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_subclassed_model_is_told_the_dtypes_that_it_takes(tmp_path, quantization):
    model, x = models.SubclassedDict(), models.SUBCLASSED_DICT_INPUT
    expected = model(x)
    signature = models.SUBCLASSED_DICT_SIGNATURE
    path = tmp_path / "m.tflite"
    tflite = to_tflite(model, path, quantization, x, input_signature=signature)
    values = tflite.predict(x)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, atol=0.05)
    details = Interpreter(str(path)).get_signature_runner().get_input_details()
    assert {name: d["dtype"] for name, d in details.items()} == {"u": np.float32, "i": np.int32}


@pytest.mark.parametrize(
    ("policy", "quantization"),
    [
        ("mixed_float16", "float32"),
        ("mixed_float16", "int8"),
        ("mixed_bfloat16", "float16"),
        ("mixed_bfloat16", "dynamic"),
    ],
)
def test_a_mixed_precision_model_is_exported_in_float32_and_left_as_it_was(
    tmp_path, policy, quantization
):
    model = models.mixed(policy)
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, models.IMAGES)
    values = tflite.predict(models.IMAGES)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, models.cnn().predict_on_batch(models.IMAGES), atol=3)
    assert {layer.compute_dtype for layer in model.layers} == {policy.removeprefix("mixed_")}
    assert evaluate(tflite, [models.IMAGES], model=model).max_difference < 0.1


def test_weights_in_half_precision_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a model of float32 weights.*float16.*float32"):
        to_tflite(models.mixed("float16"), tmp_path / "m.tflite")


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_weights_that_keras_has_quantized_are_refused(tmp_path):
    model = models.cnn()
    model.quantize("int8")
    with pytest.raises(ValueError, match=r"Expected a model of float32 weights.*int8"):
        to_tflite(model, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_an_output_given_twice_is_there_twice(tmp_path):
    x = layers.Input((4,), name="x")
    y = layers.Dense(3, name="y")(x)
    tflite = to_tflite(keras.Model(x, [y, y]), tmp_path / "m.tflite")
    values = tflite.predict(models.PAIR[0])
    assert list(values) == ["y", "y_1"]
    np.testing.assert_array_equal(values["y"], values["y_1"])


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic"])
def test_recurrent_layers_are_exported_in_float_formats(tmp_path, quantization):
    model = models.recurrent(layers.LSTM(8))
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization)
    expected = model.predict_on_batch(models.SERIES)
    np.testing.assert_allclose(tflite.predict(models.SERIES), expected, atol=0.01)


@pytest.mark.parametrize(
    ("layer", "quantization"),
    [
        (layers.LSTM(4), "int8"),
        (layers.LSTM(4), "int16x8"),
        (layers.GRU(4, return_sequences=False), "int8"),
        (layers.SimpleRNN(4), "int16x8"),
        (layers.Bidirectional(layers.LSTM(4)), "int8"),
        (layers.LSTM(4, unroll=True), "int8"),
    ],
    ids=["lstm", "lstm16", "gru", "simple", "bidirectional", "unrolled"],
)
def test_integer_formats_write_recurrent_layers_out(tmp_path, layer, quantization):
    model = keras.Sequential([layers.Input((6, 4)), models.recurrent(layer)])
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, models.SERIES)
    assert tflite.verification.relative_difference < 0.2
    assert "WHILE" not in cost(tflite.path.read_bytes()).ops
    loops = to_tflite(model, tmp_path / "m.tflite")  # The model itself is left as it was.
    assert ("WHILE" in cost(loops.path.read_bytes()).ops) == (not getattr(layer, "unroll", False))


def test_int8_of_another_loop_is_refused_before_it_ends_the_process(tmp_path):
    loop = layers.Lambda(lambda x: tf.map_fn(lambda v: v * 2, x)[:, 0], name="mapped")
    with pytest.raises(
        ValueError, match=r"a loop that is no recurrent.*in \['mapped.*\].*\"dynamic"
    ):
        to_tflite(models.recurrent(loop), tmp_path / "m.tflite", "int8", models.SERIES)
    assert not list(tmp_path.iterdir())


def test_a_free_number_of_steps_cannot_be_written_out(tmp_path):
    model = keras.Sequential([layers.Input((None, 4)), layers.GRU(4), layers.Dense(3)])
    with pytest.raises(ValueError, match="Expected a fixed number of time steps"):
        to_tflite(model, tmp_path / "m.tflite", "int8", models.SERIES)


def test_a_recurrent_layer_needs_a_fixed_batch(tmp_path):
    with pytest.raises(ValueError, match=r"fixed batch size.*batch_size=None. Use batch_size=1"):
        to_tflite(models.recurrent(layers.GRU(4)), tmp_path / "m.tflite", batch_size=None)


def test_ops_that_litert_lacks_are_named_and_left_to_tensorflow_only_if_asked(tmp_path):
    model, path = models.lambdas(tf.sinh, tf.tan), tmp_path / "m.tflite"
    path.write_bytes(b"what was there before")
    with pytest.raises(
        ValueError, match=r"with Sinh \(in lambda.*\), Tan \(in lambda.*\)\. .*allow_flex=True"
    ):
        to_tflite(model, path)
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]
    tflite = to_tflite(model, path, allow_flex=True)
    assert list(tmp_path.iterdir()) == [path]
    assert sorted(flex_ops(path.read_bytes())) == ["Sinh", "Tan"]
    with pytest.raises(RuntimeError, match=r"it needs TensorFlow's ops \(Sinh, Tan\)"):
        tflite.predict(models.IMAGES)


def test_ops_that_nothing_has_are_refused_even_with_flex(tmp_path):
    with pytest.raises(
        ValueError, match=r"with Digamma \(in .*\). TensorFlow's Flex kernels do not have"
    ):
        to_tflite(models.lambdas(tf.math.digamma), tmp_path / "m.tflite", allow_flex=True)


def test_the_written_file_has_the_rights_of_any_new_file(tmp_path):
    path = tmp_path / "m.tflite"
    to_tflite(models.cnn(), path)
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_the_result_is_frozen_and_knows_its_file(tmp_path):
    path = tmp_path / "m.tflite"
    tflite = to_tflite(models.cnn(), str(path), "float16")
    assert (tflite.path, tflite.quantization, tflite.size) == (path, "float16", path.stat().st_size)
    with pytest.raises(dataclasses.FrozenInstanceError):
        tflite.path = "other"


def test_the_model_is_left_as_it_was(tmp_path):
    model = models.cnn()
    weights, trainable = model.get_weights(), model.trainable
    to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES)
    assert model.trainable == trainable
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_unknown_quantization_is_answered_with_the_known(tmp_path):
    with pytest.raises(ValueError, match=r"'float32', 'float16', 'dynamic', 'int8'.*'int7'"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int7")


def test_a_batch_size_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch_size of at least 1, or None. Received: 0"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", batch_size=0)


def test_what_is_no_keras_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"must be a keras.Model .*Received: 'model.keras'"):
        to_tflite("model.keras", tmp_path / "m.tflite")


@pytest.mark.parametrize("model", [keras.Sequential([layers.Dense(3)]), models.Subclassed()])
def test_an_unbuilt_model_is_refused(tmp_path, model):
    with pytest.raises(ValueError, match="not built"):
        to_tflite(model, tmp_path / "m.tflite")


@pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer")
def test_a_model_built_in_name_only_is_refused(tmp_path):
    model = models.Subclassed()
    model.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match="built model.*no weights yet.*Call it on a batch"):
        to_tflite(model, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "model.keras", "model.tflite.gz", ""])
def test_a_path_without_the_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="ends in '.tflite'"):
        to_tflite(models.cnn(), tmp_path / name)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="Expected a path in an existing folder"):
        to_tflite(models.cnn(), tmp_path / "none" / "m.tflite")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="Expected a path in an existing folder"):
        to_tflite(models.cnn(), file / "m.tflite")


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(OSError, match="Expected a writable folder. Received: '/proc'"):
        to_tflite(models.cnn(), "/proc/m.tflite")
