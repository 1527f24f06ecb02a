"""Latency and memory: plausible values for the requested runs."""

import json
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import benchmark, to_tflite
from keras_kd.export.benchmark import compare_latency
from tests.export import models


def test_latencies_are_microseconds_in_order():
    file = models.export(models.cnn)
    found = benchmark(file, runs=50, warmup=5)
    (latency,) = found.latencies
    assert (latency.runs, found.warmup, latency.threads, latency.xnnpack) == (50, 5, 1, True)
    assert 0 < latency.min_us <= latency.median_us <= latency.p95_us
    assert latency.min_us < 10_000
    assert latency.throughput == pytest.approx(1e6 / latency.median_us)
    assert latency.noise >= 0
    assert found.median_us == latency.median_us
    assert found.size == file.size


def test_several_settings_are_compared():
    file = models.export(models.cnn, "int8", batch_size=7)
    found = benchmark(str(file.path), runs=3, warmup=0, threads=(1, 2), xnnpack=(True, False))
    settings = [(latency.xnnpack, latency.threads) for latency in found.latencies]
    assert settings == [(True, 1), (True, 2), (False, 1), (False, 2)]
    for latency in found.latencies:
        assert latency.runs == 3
        assert latency.throughput == pytest.approx(7e6 / latency.median_us)
    assert json.loads(json.dumps(found.as_dict()))["latencies"][2]["xnnpack"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_a_larger_model_takes_more_memory(tmp_path):
    x = layers.Input((64, 64, 1))
    large = keras.Model(x, layers.Conv2D(128, 3)(layers.Conv2D(128, 3)(x)))
    file = to_tflite(large, tmp_path / "m.tflite")
    assert 0 < benchmark(models.export(models.cnn), runs=1, warmup=0).memory < 4e6
    assert benchmark(file, runs=1, warmup=0).memory > 4 * 62 * 62 * 128  # The first activation.


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (models.tokens, {"quantization": "dynamic"}),
        (models.two_in_two_out, {}),
        (models.cnn, {"quantization": "int8", "batch_size": None}),
        (models.raw_bytes, {"quantization": "int8"}),
    ],
)
def test_models_with_any_inputs_can_be_timed(make, options):
    file = models.export(make, **options)
    assert np.isfinite(benchmark(file, runs=2, warmup=1).median_us)


def test_a_file_that_litert_cannot_run_has_an_error_in_place_of_a_latency():
    files = {
        "flex": models.export_with_flex(),
        "plain": models.export(models.cnn),
    }
    found = compare_latency(files, runs=2)
    assert "needs TensorFlow ops" in str(found["flex"])
    assert found["plain"].runs == 2


@pytest.mark.parametrize(
    "options", [{"runs": 0}, {"warmup": -1}, {"threads": 0}, {"threads": (1, 0)}]
)
def test_numbers_out_of_range_are_rejected(tmp_path, options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=rf"Expected {name} of at least \d. Received: "):
        benchmark(tmp_path / "m.tflite", **options)


def test_at_least_one_setting_is_required(tmp_path):
    with pytest.raises(ValueError, match="Expected at least one value of xnnpack"):
        benchmark(tmp_path / "m.tflite", xnnpack=())


def test_a_file_that_fails_when_it_runs_has_an_error_and_masked_tokens_do_not(
    monkeypatch, tmp_path
):
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(20, 4, mask_zero=True)(inputs)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    tokens = models.TOKENS[:, :6]
    file = to_tflite(model, tmp_path / "m.tflite", "int8", np.maximum(tokens, 1))
    assert np.isfinite(compare_latency({"tokens": file}, runs=2)["tokens"].median_us)
    padding = np.zeros((1, 6), "int32")
    names = compare_latency.__globals__
    monkeypatch.setitem(names, "random_arrays", lambda specs, size: dict.fromkeys(specs, padding))
    found = compare_latency({"tokens": file}, runs=2)
    assert "DIV" in str(found["tokens"])
