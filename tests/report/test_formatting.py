"""Numbers as people read them."""

import pytest

from keras_kd.report import formatting


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (formatting.percent, 0.9467, "94.67 %"),
        (formatting.points, -0.0033, "−0.33"),
        (formatting.points, 0.01, "+1.00"),
        (formatting.points, 1e-5, "±0.00"),
        (formatting.decimal, 0.05678, "0.0568"),
        (formatting.significant, 0.0345678, "0.03457"),
        (formatting.significant, 1234.5, "1,234"),
        (formatting.count, 4810, "4,810"),
        (formatting.count, 25_000, "25.0 k"),
        (formatting.count, 1_580_864, "1.6 M"),
        (formatting.count, 30_000_000_000, "30.0 G"),
        (formatting.size, 27_248, "27.2 kB"),
        (formatting.size, 9_800_000, "9.80 MB"),
        (formatting.duration, 18.31, "18.3 µs"),
        (formatting.duration, 1234.5, "1234 µs"),
        (formatting.duration, 12_345, "12.3 ms"),
        (formatting.ratio, 9.96, "10.0×"),
        (formatting.ratio, 360.2, "360×"),
    ],
)
def test_numbers_have_a_unit_and_few_digits(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize("name", ["percent", "decimal", "count", "size", "duration"])
def test_unknown_numbers_are_a_dash(name):
    assert getattr(formatting, name)(None) == "–"
