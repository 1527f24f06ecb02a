import argparse

import pytest

from keras_kd.cli import quantities


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (quantities.size, "60kB", 60_000),
        (quantities.size, "1.5 MB", 1_500_000),
        (quantities.size, "64KiB", 65_536),
        (quantities.size, "60000", 60_000),
        (quantities.latency, "5ms", 5_000),
        (quantities.latency, "800µs", 800),
        (quantities.duration, "1h", 3_600),
        (quantities.duration, "90", 90),
        (quantities.count, "2M", 2_000_000),
        (quantities.count, "500k", 500_000),
    ],
)
def test_numbers_have_units(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (quantities.size, "60 cats"),
        (quantities.size, "0"),
        (quantities.size, "1.2.3kB"),
        (quantities.size, "-5"),
        (quantities.latency, "5"),
        (quantities.count, "many"),
    ],
)
def test_other_texts_are_rejected(parse, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected a .*, not {text}"):
        parse(text)
