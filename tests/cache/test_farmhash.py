"""The fingerprints are those of TensorFlow, for rows of any length."""

import numpy as np
import pytest

from keras_kd.cache.farmhash import fingerprint64


@pytest.mark.parametrize("first", [0, 17, 33, 65, 129, 250])
def test_rows_have_the_fingerprints_of_tensorflow(first):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(first)
    for length in [*range(first, first + 17), 10 * first + 1000]:
        rows = rng.integers(0, 256, (3, length)).astype("uint8")
        if length:
            expected = tf.fingerprint(rows).numpy().view("<u8")[:, 0]
            np.testing.assert_array_equal(fingerprint64(rows), expected, str(length))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0x9AE16A3B2F90404F),
        ("a", 0xB3454265B6DF75E3),
        ("abc", 0x24A5B3A074E7F369),
        ("hello", 0xB48BE5A931380CE8),
    ],
)
def test_golden_numbers(text, expected):
    rows = np.frombuffer(text.encode(), "uint8")[np.newaxis]
    assert int(fingerprint64(rows)[0]) == expected
