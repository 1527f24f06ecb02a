"""All formats tried: which one is kept, what is said of the others, what is left on the disk."""

import dataclasses
import sys

import keras
import numpy as np
import pytest

from keras_kd.export import QUANTIZATIONS, best, to_tflite
from keras_kd.export.attempt import Attempt
from keras_kd.export.best import _winner
from tests.export import models

LABELS = models.cnn().predict_on_batch(models.IMAGES).argmax(-1)
DATA = (models.IMAGES, LABELS)


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    path = tmp_path_factory.mktemp("best") / "m.tflite"
    return best(models.cnn(), DATA, path, objective="size", max_drop=10)


def test_the_smallest_file_that_holds_the_accuracy_is_kept(smallest):
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


def test_only_the_kept_file_is_left_and_it_is_the_one_of_its_format(smallest, tmp_path):
    assert list(smallest.path.parent.iterdir()) == [smallest.path]
    alone = to_tflite(models.cnn(), tmp_path / "m.tflite", smallest.quantization, DATA)
    expected = alone.predict(models.IMAGES)
    np.testing.assert_array_equal(smallest.predict(models.IMAGES), expected)


def test_formats_are_timed_and_one_is_kept_for_its_speed(tmp_path):
    formats = ("float32", "int8", "int16x8")
    file = best(models.cnn(), DATA, tmp_path / "m.tflite", max_drop=10, formats=formats, runs=50)
    assert [attempt.quantization for attempt in file.tried] == list(formats)
    assert all(attempt.latency_us > 0 for attempt in file.tried)
    slow = file.tried[-1]
    assert slow.reason.startswith(f"{slow.latency_us:.1f} µs, slower than the ")


def test_a_format_that_loses_too_much_is_dropped_with_what_it_lost(tmp_path):
    blind = models.IMAGES * 0.001, LABELS  # Such as the model never sees.
    formats = ("int8", "float16")
    file = best(
        models.cnn(), blind, tmp_path / "m.tflite", verification=DATA, formats=formats, runs=1
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


def test_a_format_that_cannot_be_made_is_no_reason_to_stop(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    formats = ("float32", "int8", "int4")
    file = best(
        models.cnn(), DATA, tmp_path / "m.tflite", formats=formats, io_dtype="int8", max_drop=10
    )
    assert file.quantization == "int8"
    assert "Expected an io_dtype of ('float32',)" in file.tried[0].reason
    assert "pip install 'keras_kd[quantizer]'" in file.tried[2].reason


@pytest.mark.slow
def test_a_file_that_litert_cannot_run_is_not_the_fastest(tmp_path):
    model = models.lambdas(keras.ops.arctanh)
    x = models.IMAGES * 0.5
    with pytest.raises(RuntimeError, match="a format that holds the accuracy.*Atanh"):
        best(model, x, tmp_path / "m.tflite", formats=("float32",), allow_flex=True)
    assert not list(tmp_path.iterdir())


def test_where_no_format_holds_each_reason_is_said_and_what_was_there_stays(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    off = r"output '\w+' is off by .*, more than tolerance=0"
    formats = ("float16", "dynamic")
    with pytest.raises(RuntimeError, match=rf"none \(float16: {off}; dynamic: {off}\)\. Raise"):
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
def test_what_fits_no_format_is_refused_before_any_is_tried(tmp_path, arguments, message):
    arguments = {"path": tmp_path / "m.tflite", "data": DATA, "verbose": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        best(models.cnn(), **arguments)
    assert not list(tmp_path.iterdir())


def attempt(name, size, latency, noise):
    return Attempt(name, size=size, latency_us=latency, noise=noise)


def test_within_the_noise_the_smallest_is_taken():
    measured = [attempt("float32", 4000, 20.0, 0.05), attempt("dynamic", 1000, 21.0, 0.01)]
    tried = {one.quantization: one for one in measured}
    assert _winner(tried, tried, "latency") == "dynamic"
    assert tried["float32"].reason == (
        "as fast as dynamic within the noise, and 4.0 kB, more than the 1.0 kB of dynamic"
    )
    sure = {name: dataclasses.replace(one, reason=None, noise=0.001) for name, one in tried.items()}
    assert _winner(sure, sure, "latency") == "float32"
    assert sure["dynamic"].reason == "21.0 µs, slower than the 20.0 µs of float32"


def test_the_attempts_are_plain_values_for_json(smallest):
    first = smallest.tried[0].as_dict()
    assert first["quantization"] == "float32"
    assert first["verification"]["samples"] == len(LABELS)
    (scores,) = first["verification"]["outputs"].values()
    assert scores["accuracy"] == 1
