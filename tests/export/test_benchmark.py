"""Latency: plausible numbers of the runs that were asked for."""

import json
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import benchmark, to_tflite
from tests.export import models


def test_latencies_are_in_microseconds_and_in_order(tmp_path):
    tflite = to_tflite(models.cnn(), tmp_path / "m.tflite")
    found = benchmark(tflite, runs=50, warmup=5)
    (latency,) = found.latencies
    assert (latency.runs, found.warmup, latency.threads, latency.xnnpack) == (50, 5, 1, True)
    assert 0 < latency.min_us <= latency.median_us <= latency.p95_us
    assert latency.min_us < 10_000
    assert latency.throughput == pytest.approx(1e6 / latency.median_us)
    assert latency.noise >= 0
    assert found.median_us == latency.median_us
    assert found.size == tflite.size


def test_settings_are_timed_beside_each_other(tmp_path):
    tflite = to_tflite(models.cnn(), tmp_path / "m.tflite", batch_size=4)
    found = benchmark(str(tflite.path), runs=7, warmup=0, threads=(1, 2), xnnpack=(True, False))
    settings = [(latency.xnnpack, latency.threads) for latency in found.latencies]
    assert settings == [(True, 1), (True, 2), (False, 1), (False, 2)]
    for latency in found.latencies:
        assert latency.runs == 7
        assert latency.throughput == pytest.approx(4e6 / latency.median_us)
    assert json.loads(json.dumps(found.as_dict()))["latencies"][2]["xnnpack"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say")
def test_a_larger_model_takes_more_memory(tmp_path):
    x = layers.Input((64, 64, 1))
    large = keras.Model(x, layers.Conv2D(256, 3)(layers.Conv2D(256, 3)(x)))
    found = {
        name: benchmark(to_tflite(model, tmp_path / f"{name}.tflite"), runs=1, warmup=0).memory
        for name, model in {"small": models.cnn(), "large": large}.items()
    }
    assert 0 < found["small"] < 4e6
    assert found["large"] > 4 * 62 * 62 * 256  # The first map alone.


@pytest.mark.parametrize(
    ("make", "kwargs"),
    [
        (models.tokens, {}),
        (models.two_in_two_out, {}),
        (models.cnn, {"batch_size": None}),
        (models.raw_bytes, {"quantization": "int8", "calibration": models.BYTES}),
    ],
)
def test_any_inputs_can_be_timed(tmp_path, make, kwargs):
    tflite = to_tflite(make(), tmp_path / "m.tflite", **kwargs)
    assert np.isfinite(benchmark(tflite, runs=5, warmup=1).median_us)


@pytest.mark.parametrize(
    "kwargs", [{"runs": 0}, {"warmup": -1}, {"threads": 0}, {"threads": (1, 0)}]
)
def test_numbers_out_of_range_are_refused(tmp_path, kwargs):
    name = next(iter(kwargs))
    with pytest.raises(ValueError, match=rf"Expected {name} of at least \d. Received: "):
        benchmark(tmp_path / "m.tflite", **kwargs)


def test_at_least_one_setting_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="Expected at least one value of xnnpack"):
        benchmark(tmp_path / "m.tflite", xnnpack=())
