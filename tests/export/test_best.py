"""The best format: which one is kept, why the others are not, which files remain."""

import dataclasses
import sys

import numpy as np
import pytest

from keras_kd.export import QUANTIZATIONS, best
from keras_kd.export.best import _measure_latency, _select
from keras_kd.export.tflite_model import Attempt
from tests.export import models

LABELS = models.cnn().predict_on_batch(models.IMAGES).argmax(-1)
DATA = (models.IMAGES, LABELS)


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    path = tmp_path_factory.mktemp("best") / "m.tflite"
    return best(models.cnn(), DATA, path, objective="size", max_drop=10)


def test_the_smallest_file_within_the_limit_is_kept(smallest):
    tried = {attempt.quantization: attempt for attempt in smallest.tried}
    assert list(tried) == list(QUANTIZATIONS)
    (kept,) = [attempt for attempt in smallest.tried if attempt.reason is None]
    assert kept.quantization == smallest.quantization
    assert kept.size == smallest.size == min(attempt.size for attempt in smallest.tried)
    assert kept.verification == smallest.verification
    assert tried["float32"].reason == (
        f"{tried['float32'].size / 1000:.1f} kB, more than the {kept.size / 1000:.1f} kB of "
        f"{kept.quantization}"
    )
    assert all(attempt.latency_us is None for attempt in smallest.tried)


def test_only_the_file_of_the_kept_format_remains(smallest):
    assert list(smallest.path.parent.iterdir()) == [smallest.path]
    expected = models.export(models.cnn, smallest.quantization).predict(models.IMAGES)
    np.testing.assert_array_equal(smallest.predict(models.IMAGES), expected)


def test_the_fastest_format_is_kept(tmp_path):
    formats = ("float32", "int16x8")
    file = best(models.cnn(), DATA, tmp_path / "m.tflite", max_drop=10, formats=formats, runs=50)
    assert [attempt.quantization for attempt in file.tried] == list(formats)
    assert all(attempt.latency_us > 0 for attempt in file.tried)
    slow = file.tried[-1]
    assert slow.reason.startswith(f"{slow.latency_us:.1f} µs, slower than the ")


def test_a_format_that_loses_too_much_is_dropped_with_its_scores(tmp_path):
    data = models.IMAGES * 0.001, LABELS  # Calibration values far below the real ones.
    formats = ("int8", "float16")
    file = best(
        models.cnn(), data, tmp_path / "m.tflite", verification=DATA, formats=formats, runs=1
    )
    assert file.quantization == "float16"
    int8 = file.tried[0]
    assert "points of accuracy" in int8.reason
    assert int8.verification.drop > 0.5
    assert int8.size > 0
    assert list(tmp_path.iterdir()) == [file.path]


def test_without_labels_the_outputs_must_be_close(tmp_path):
    path, formats = tmp_path / "m.tflite", ("float32", "int4")
    file = best(models.cnn(), models.IMAGES, path, tolerance=0.01, formats=formats, runs=1)
    assert file.quantization == "float32"
    assert "of its standard deviation" in file.tried[1].reason


def test_a_format_that_cannot_be_converted_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    formats = ("float32", "int8", "int4")
    file = best(
        models.cnn(), DATA, tmp_path / "m.tflite", formats=formats, io_dtype="int8", max_drop=10
    )
    assert file.quantization == "int8"
    assert "Expected an io_dtype of ('float32',)" in file.tried[0].reason
    assert "pip install 'keras_kd[quantizer]'" in file.tried[2].reason


def test_a_file_that_litert_cannot_run_is_dropped():
    files = {"float32": models.export_with_flex()}
    tried = {"float32": Attempt("float32", size=files["float32"].size)}
    _measure_latency(files, tried, runs=1)
    assert not files
    assert "Sinh" in tried["float32"].reason
    with pytest.raises(RuntimeError, match=r"Expected a format within max_drop.*float32: .*Sinh"):
        _select(files, tried, "latency")


def test_without_a_valid_format_all_reasons_are_reported_and_the_old_file_remains(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    reason = r"output 'logits' differs by .*, more than tolerance=0"
    formats = ("float16", "dynamic")
    with pytest.raises(RuntimeError, match=rf"none \(float16: {reason}; dynamic: {reason}\)\. "):
        best(models.cnn(), models.IMAGES, path, formats=formats, tolerance=0)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "speed"}, r"an objective of \('latency', 'size'\)"),
        ({"max_drop": -1}, "max_drop of at least 0"),
        ({"max_drop": float("nan")}, "max_drop of at least 0"),
        ({"formats": ()}, "Expected formats of"),
        ({"formats": ("int8", "int2")}, r"Received: \['int8', 'int2'\]"),
        ({"path": "m.onnx"}, r"ends in '\.tflite'"),
        ({"data": models.IMAGES[:, :4]}, "expected batches of shape"),
        ({"data": None}, "Expected calibration data"),
    ],
)
def test_invalid_arguments_are_rejected_before_any_format_is_tried(tmp_path, arguments, message):
    arguments = {"path": tmp_path / "m.tflite", "data": DATA, "verbose": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        best(models.cnn(), **arguments)
    assert not list(tmp_path.iterdir())


def test_within_the_noise_the_smallest_file_is_kept():
    measured = [
        Attempt("float32", size=4000, latency_us=20.0, noise=0.05),
        Attempt("dynamic", size=1000, latency_us=21.0, noise=0.01),
    ]
    tried = {attempt.quantization: attempt for attempt in measured}
    assert _select(tried, tried, "latency") == "dynamic"
    assert tried["float32"].reason == (
        "as fast as dynamic within the noise, and 4.0 kB, more than the 1.0 kB of dynamic"
    )
    certain = {
        name: dataclasses.replace(attempt, reason=None, noise=0.001)
        for name, attempt in tried.items()
    }
    assert _select(certain, certain, "latency") == "float32"
    assert certain["dynamic"].reason == "21.0 µs, slower than the 20.0 µs of float32"
