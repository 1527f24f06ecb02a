"""What else a file may be: other formats and dtypes, entry points, what it does by itself."""

import io
import sys
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from keras_kd.export import VerificationError, benchmark, describe, evaluate, to_tflite
from tests.export import models


def logits(images=models.IMAGES):
    return models.cnn().predict_on_batch(images)


def ends(path):
    """Returns the details of the only input and the only output."""
    interpreter = Interpreter(str(path))
    return interpreter.get_input_details()[0], interpreter.get_output_details()[0]


@pytest.mark.parametrize("quantization", ["weight_only_int8", "int4"])
def test_weights_alone_are_quantized(tmp_path, quantization):
    tflite = to_tflite(models.cnn(), tmp_path / "m.tflite", quantization, models.IMAGES)
    floats = to_tflite(models.cnn(), tmp_path / "f.tflite")
    bits = {"weight_only_int8": 8, "int4": 4}[quantization]
    weights = 8 * 9 + 288 * 10
    assert floats.size - tflite.size == pytest.approx(weights * (32 - bits) / 8, rel=0.2)
    assert tflite.verification.relative_difference < {8: 0.02, 4: 0.2}[bits]
    assert ends(tflite.path)[0]["dtype"] == np.float32


def test_weights_of_larger_models_are_not_lost(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((600,)), layers.Dense(600), layers.Dense(3)])
    x = np.random.default_rng(0).random((20, 600), "float32")
    tflite = to_tflite(model, tmp_path / "m.tflite", "weight_only_int8", x)  # More than 256 kB.
    assert 360_000 < tflite.size < 380_000
    assert tflite.verification.relative_difference < 0.02
    assert benchmark(tflite, runs=1).macs == 600 * 600 + 600 * 3


def test_a_missing_quantizer_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras_kd\[quantizer\]'"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int4")


def test_16_bit_activations_are_closer_than_8_bit_ones(tmp_path):
    found = {}
    for quantization in ("int8", "int16x8"):
        tflite = to_tflite(models.cnn(), tmp_path / "m.tflite", quantization, models.IMAGES)
        found[quantization] = tflite.verification.relative_difference
    assert found["int16x8"] < found["int8"]


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("int8", "int8"), ("int8", "uint8"), ("int16x8", "int16")]
)
def test_integers_go_in_and_come_out(tmp_path, quantization, dtype):
    path = tmp_path / "m.tflite"
    tflite = to_tflite(models.cnn(), path, quantization, models.IMAGES, io_dtype=dtype)
    assert [np.dtype(end["dtype"]).name for end in ends(path)] == [dtype, dtype]
    np.testing.assert_allclose(tflite.predict(models.IMAGES), logits(), atol=0.1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"quantization": "float32", "io_dtype": "int8"}, r"io_dtype of \('float32',\) for"),
        ({"quantization": "int16x8", "io_dtype": "int8"}, r"io_dtype of \('float32', 'int16'\)"),
        ({"quantization": "float16", "per_channel": False}, "Expected per_channel=True, unless"),
        ({"signatures": {}}, "Expected signatures as a dictionary"),
        ({"quantization": "int16x8", "signatures": {"a": None, "b": "dense"}}, "one signature for"),
        ({"raw_inputs": True}, "Expected `normalization` with raw_inputs=True"),
        ({"normalization": 3}, r"Expected `normalization` as \(mean, std\)"),
        ({"normalization": (0, 0)}, "a positive std"),
        ({"normalization": ((0, 1), 1)}, "of one number or 1"),
        ({"normalization": {"x": (0, 1)}}, r"Received: one of \['x'\]"),
        ({"answer": "maximum"}, r"an `answer` of \('softmax', 'sigmoid', 'argmax'\)"),
        ({"answer": {"x": "softmax"}}, "by the names of the outputs"),
        ({"labels": ["a", "b"]}, "Expected 10 labels for output"),
        ({"signatures": {"a": "dens"}}, "has no layer or output 'dens'"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        to_tflite(models.cnn(), tmp_path / "m.tflite", **{"calibration": models.IMAGES, **kwargs})
    assert not list(tmp_path.iterdir())


def test_one_scale_for_all_channels_makes_a_smaller_file(tmp_path):
    sizes = [
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", models.IMAGES, per_channel=p).size
        for p in (True, False)
    ]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_file_has_several_entry_points(tmp_path, quantization):
    model, taps = models.cnn(), {"classify": None, "embed": "flatten"}
    model.layers[-2].name = "flatten"
    path = tmp_path / "m.tflite"
    tflite = to_tflite(model, path, quantization, models.IMAGES, signatures=taps)
    hidden = keras.Model(model.inputs, model.get_layer("flatten").output)
    expected = {"classify": model, "embed": hidden}
    assert Interpreter(str(path)).get_signature_list().keys() == taps.keys()
    for key, part in expected.items():
        values = tflite.predict(models.IMAGES, signature=key)
        np.testing.assert_allclose(values, part.predict_on_batch(models.IMAGES), atol=0.1)
        found = evaluate(path, [models.IMAGES], model=model, signature=key)
        assert found.relative_difference < 0.1
    np.testing.assert_array_equal(
        tflite.predict(models.IMAGES), tflite.predict(models.IMAGES, signature="classify")
    )
    alone = to_tflite(model, tmp_path / "n.tflite", quantization, models.IMAGES)
    assert tflite.size < 1.5 * alone.size  # The weights are there once.


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_file_normalises_raw_values_itself(tmp_path, quantization):
    raw = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("float32")
    x = (raw - 30) / 60
    path = tmp_path / "m.tflite"
    kwargs = {"normalization": (30, 60), "raw_inputs": True}
    tflite = to_tflite(models.cnn(), path, quantization, x, **kwargs)
    np.testing.assert_allclose(tflite.predict(raw), logits(x), atol=0.3)
    labels = logits(x).argmax(-1)
    found = evaluate(path, [(x, labels)], model=models.cnn())
    assert found.accuracy >= 0.95
    assert found.relative_difference < 0.1
    assert describe(path).raw_inputs


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("int8", -128)])
def test_bytes_stand_for_themselves(tmp_path, dtype, zero):
    raw = np.random.default_rng(0).integers(5, 200, (40, 8, 8, 1))  # Not all bytes occur.
    x = raw.astype("float32") / 255
    path = tmp_path / "m.tflite"
    kwargs = {"normalization": (0, 255), "raw_inputs": True, "io_dtype": dtype}
    tflite = to_tflite(models.cnn(), path, "int8", x, **kwargs)
    scale, point = ends(path)[0]["quantization"]
    assert (scale, point) == (1.0, zero)
    np.testing.assert_allclose(tflite.predict(raw), logits(x), atol=0.1)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_probabilities_come_out_if_asked(tmp_path, quantization):
    path = tmp_path / "m.tflite"
    tflite = to_tflite(models.cnn(), path, quantization, models.IMAGES, answer="softmax")
    values = tflite.predict(models.IMAGES)
    np.testing.assert_allclose(values.sum(-1), 1, atol=0.02)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits()))
    np.testing.assert_allclose(values, expected, atol=0.05)
    assert evaluate(path, [models.IMAGES], model=models.cnn()).max_difference < 0.05


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "int8"])
@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_class_numbers_come_out_if_asked(tmp_path, quantization, io_dtype):
    if io_dtype == "uint8" and quantization != "int8":
        return
    path = tmp_path / "m.tflite"
    kwargs = {"answer": "argmax", "io_dtype": io_dtype}
    tflite = to_tflite(models.cnn(), path, quantization, models.IMAGES, **kwargs)
    values = tflite.predict(models.IMAGES)
    assert values.shape == (40,)
    wanted = logits().argmax(-1)
    assert (values == wanted).mean() >= 0.95
    for labels in (wanted, np.eye(10)[wanted]):
        found = evaluate(path, [(models.IMAGES, labels)])
        assert found.accuracy >= 0.95
        compared = evaluate(path, [(models.IMAGES, labels)], model=models.cnn())
        assert (compared.model_accuracy, compared.accuracy) == (1, found.accuracy)
        assert compared.agreement == found.accuracy
        assert compared.max_difference is None


@pytest.mark.parametrize(
    "last",
    [layers.Softmax(), layers.Activation("sigmoid"), layers.Lambda(keras.ops.softmax)],
    ids=["softmax", "sigmoid", "hidden"],
)
def test_probabilities_are_not_softened_twice(tmp_path, last):
    model = keras.Sequential([models.cnn(), last])
    with pytest.raises(ValueError, match="which is probabilities already"):
        to_tflite(model, tmp_path / "m.tflite", answer="softmax")


def test_what_the_file_says_of_itself_is_read_back(tmp_path):
    path = tmp_path / "m.tflite"
    names = [f"class {i}" for i in range(10)]
    to_tflite(models.cnn(), path, "float16", labels=names, normalization=(1, 2), answer="softmax")
    about = describe(path)
    (output,) = about.outputs["serving_default"]
    assert (about.quantization, about.labels) == ("float16", {output: tuple(names)})
    assert about.answers == {output: "softmax"}
    (normalization,) = about.normalization.values()
    assert (normalization.mean, normalization.std, about.raw_inputs) == ((1,), (2,), False)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert archive.read("labels.txt").decode().splitlines() == names


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = models.cnn()
    files = [
        to_tflite(model, tmp_path / f"{i}.tflite", labels=list("abcdefghij")).path for i in range(2)
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_of_others_says_nothing(tmp_path):
    path = to_tflite(models.cnn(), tmp_path / "m.tflite").path
    for replacement in (b"anothers", b"keras\xffkd"):
        path.write_bytes(path.read_bytes().replace(b"keras_kd", replacement))
        assert describe(path).quantization is None


def test_tensors_are_aligned_as_the_schema_demands(tmp_path):
    content = to_tflite(
        models.cnn(), tmp_path / "m.tflite", "int8", models.IMAGES
    ).path.read_bytes()

    model = schema.Model.GetRootAs(content)
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength():
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0


class TestVerification:
    """A file that answers otherwise than its model is not taken."""

    def test_a_lost_accuracy_is_refused_and_the_file_kept_aside(self, tmp_path):
        path = tmp_path / "m.tflite"
        to_tflite(models.cnn(), path)
        before = path.read_bytes()
        labels = logits().argmax(-1)
        # Calibrated on noughts, the file knows no values but these.
        blind, data = models.IMAGES * 1e-3, (models.IMAGES, labels)
        with pytest.raises(VerificationError, match=r"loses [\d.]+ points.*rejected") as error:
            to_tflite(models.cnn(), path, "int8", blind, verification=data)
        assert path.read_bytes() == before
        assert error.value.path == tmp_path / "m.rejected.tflite"
        assert sorted(tmp_path.iterdir()) == [error.value.path, path]
        found = evaluate(error.value.path, [data], model=models.cnn())
        assert found == error.value.verification
        assert found.drop > 2
        to_tflite(models.cnn(), path, "int8", blind, verification=data, max_drop=100)

    def test_without_labels_the_difference_decides(self, tmp_path):
        path = tmp_path / "m.tflite"
        with pytest.raises(VerificationError, match="is off by .* of its standard deviation"):
            to_tflite(models.cnn(), path, "int8", models.IMAGES, tolerance=1e-4)
        assert not path.exists()
        tflite = to_tflite(models.cnn(), path, "int8", models.IMAGES)
        assert tflite.verification.samples == 40
        assert 1e-4 < tflite.verification.relative_difference < 0.1

    def test_without_samples_nothing_is_claimed(self, tmp_path):
        assert to_tflite(models.cnn(), tmp_path / "m.tflite", "dynamic").verification is None

    @pytest.mark.parametrize(
        "labels",
        [
            np.full(40, 3),
            np.linspace(0, 1, 40),
            np.full(40, 11),
            np.zeros((40, 5)),
            {"x": np.zeros(40)},
        ],
        ids=["no better than guessing", "targets", "more classes", "another shape", "other names"],
    )
    def test_labels_that_are_no_classes_do_not_count(self, tmp_path, labels):
        data = (models.IMAGES, labels)
        tflite = to_tflite(models.cnn(), tmp_path / "m.tflite", verification=data)
        assert tflite.verification.accuracy is None
        assert tflite.verification.relative_difference < 1e-5

    def test_so_many_samples_are_taken(self, tmp_path):
        path = tmp_path / "m.tflite"
        data = (models.IMAGES, logits().argmax(-1))
        tflite = to_tflite(models.cnn(), path, verification=data, verification_samples=7)
        assert tflite.verification.samples == 7
        assert (tflite.verification.accuracy, tflite.verification.drop) == (1, 0)
