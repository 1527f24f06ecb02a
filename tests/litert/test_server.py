"""The interpreter server: messages over a pipe, dequantization, requests."""

import io

import numpy as np
import pytest

from keras_kd.litert import server
from tests.export import models


def test_messages_carry_json_and_arrays():
    arrays = {"x": np.arange(6, dtype="int16").reshape(2, 3)[:, ::2], "none": np.zeros((0, 3))}
    stream = io.BytesIO()
    server.send(stream, ["run", {"step": 1}], arrays)
    stream.seek(0)
    header, received = server.receive(stream)
    assert header == ["run", {"step": 1}]
    for name, array in arrays.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype


@pytest.mark.parametrize("size", [0, 5, -1])
def test_a_truncated_message_is_the_end_of_the_stream(size):
    stream = io.BytesIO()
    server.send(stream, "header", {"x": np.ones(8)})
    with pytest.raises(EOFError):
        server.receive(io.BytesIO(stream.getvalue()[:size]))


def test_tensors_are_dequantized_per_tensor_or_per_channel():
    array = np.array([[1, 2], [3, 4]], "int8")
    none = {"scales": [], "zero_points": [], "quantized_dimension": 0}
    assert server.dequantize(array, none) is array
    one = {**none, "scales": [0.5], "zero_points": [1]}
    np.testing.assert_array_equal(server.dequantize(array, one), [[0, 0.5], [1, 1.5]])
    channels = {"scales": [1.0, 2.0], "zero_points": [0, 1], "quantized_dimension": 1}
    values = server.dequantize(array, channels)
    np.testing.assert_array_equal(values, [[1, 2], [3, 6]])
    assert values.dtype == np.float32


def test_requests_are_served_until_the_stream_ends():
    requests, replies = io.BytesIO(), io.BytesIO()
    content = np.frombuffer(models.content(models.cnn), "uint8")
    settings = {"threads": 1, "xnnpack": True, "keep_tensors": False}
    server.send(requests, ["open", settings], {"content": content})
    server.send(requests, ["describe", {}])
    arguments = {"signature": "serving_default", "step": 1}
    server.send(requests, ["run", arguments], {"input_0": models.IMAGES[:2]})
    server.send(requests, ["run", {**arguments, "signature": "none"}], {"input_0": models.IMAGES})
    requests.seek(0)
    server.serve(requests, replies)
    replies.seek(0)
    assert server.receive(replies) == ({"result": None}, {})
    described = server.receive(replies)[0]["result"]["serving_default"]
    assert described["inputs"]["input_0"]["shape"] == [1, 8, 8, 1]
    _, outputs = server.receive(replies)
    expected = models.cnn().predict_on_batch(models.IMAGES[:2])
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    assert server.receive(replies)[0]["error"] == "ValueError"
