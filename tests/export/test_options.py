"""Options: values and combinations that are rejected before the conversion."""

import pytest

from keras_kd.export.options import MAIN, Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int7"}, r"'float32', 'float16', 'dynamic', 'int8'.*'int7'"),
        ({"batch_size": 0}, "batch_size of at least 1, or None. Received: 0"),
        ({"io_dtype": "int8"}, r"io_dtype of \('float32',\) for"),
        ({"quantization": "int16x8", "io_dtype": "int8"}, r"io_dtype of \('float32', 'int16'\)"),
        ({"quantization": "float16", "per_channel": False}, "Expected per_channel=True, unless"),
        ({"signatures": {}}, "Expected signatures as a dictionary"),
        ({"signatures": {"": None}}, "Expected signatures as a dictionary"),
        ({"quantization": "int16x8", "signatures": {"a": None, "b": "dense"}}, "one signature for"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_weight_only_formats_are_converted_from_float32():
    request = Options("int4", batch_size=None).request
    assert (request.quantization, request.batch_size) == ("float32", 1)
    assert request.signatures == (MAIN,)


def test_every_signature_has_a_tap():
    assert Options().taps == {MAIN: None}
    assert Options(signatures={"a": None, "b": "dense"}).taps == {"a": None, "b": "dense"}
