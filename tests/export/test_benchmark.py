"""Latency: plausible numbers of the runs that were asked for."""

import numpy as np
import pytest

from keras_kd.export import benchmark, to_tflite
from tests.export import models


def test_latencies_are_in_microseconds_and_in_order(tmp_path):
    tflite = to_tflite(models.cnn(), tmp_path / "m.tflite")
    latency = benchmark(tflite, runs=50, warmup=5)
    assert (latency.runs, latency.warmup, latency.threads) == (50, 5, 1)
    assert 0 < latency.min_us <= latency.median_us <= latency.p95_us
    assert latency.min_us < 10_000
    assert benchmark(str(tflite.path), runs=1, warmup=0, threads=2).threads == 2


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


@pytest.mark.parametrize("kwargs", [{"runs": 0}, {"warmup": -1}, {"threads": 0}])
def test_numbers_out_of_range_are_refused(tmp_path, kwargs):
    name = next(iter(kwargs))
    with pytest.raises(ValueError, match=rf"Expected {name} of at least \d. Received: "):
        benchmark(tmp_path / "m.tflite", **kwargs)
