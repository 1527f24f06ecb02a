"""Arguments of the commands: values that are accepted, and lists that must match the package."""

import argparse

import pytest

from keras_kd import export
from keras_kd.cli import arguments
from keras_kd.models.output_evidence import DECLARATIONS


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (arguments.positive_int, "3", 3),
        (arguments.positive_float, "0.5", 0.5),
        (arguments.non_negative_float, "0", 0.0),
    ],
)
def test_numbers_in_range_are_parsed(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (arguments.positive_int, "0"),
        (arguments.positive_float, "0"),
        (arguments.positive_float, "inf"),
        (arguments.non_negative_float, "-0.1"),
        (arguments.non_negative_float, "nan"),
    ],
)
def test_numbers_out_of_range_are_rejected(parse, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected a .*, not {text}"):
        parse(text)


def test_the_formats_are_those_of_the_export():
    assert arguments.QUANTIZATIONS == export.QUANTIZATIONS


def test_the_declarations_are_those_of_the_scores():
    assert arguments.OUTPUTS == DECLARATIONS
