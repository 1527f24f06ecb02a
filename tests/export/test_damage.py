"""Damaged .tflite files: a clear error, or an answer; never the end of the process."""

import numpy as np
import pytest

from keras_kd.export import benchmark, describe, evaluate, to_tflite
from tests.export import models

DATA = [(models.IMAGES[:3], np.zeros(3, "int64"))]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "m.tflite"
    to_tflite(models.cnn(), path, "int8", models.IMAGES, labels=list("abcdefghij"))
    return path.read_bytes()


def damaged(content, seed):
    """Returns the file with some bits turned over, and with every third one cut off as well."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(8, len(data))] ^= 1 << rng.integers(8)
    return bytes(data[: rng.integers(8, len(data))] if seed % 3 == 0 else data)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_an_error_of_ours_and_leaves_nothing(tmp_path, content, seed):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged(content, seed))
    messages = []
    for call in (lambda: evaluate(path, DATA), lambda: benchmark(path, runs=3, warmup=0)):
        try:
            call()
        except (ValueError, RuntimeError) as error:
            messages.append(str(error))
    assert all("xpected" in message and "Received: " in message for message in messages)
    describe(path)
    assert list(tmp_path.iterdir()) == [path]
