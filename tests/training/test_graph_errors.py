"""Readable errors from compiled graphs."""

import re

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.training.graph_errors import marked, readable_errors, readable_message

MESSAGE = "Labels out of range: the output 'logits' has 4 classes [see: the guide]."


@tf.function
def check(value, message):
    with tf.control_dependencies([tf.debugging.Assert(value > 0, [message])]):
        return tf.identity(value)


def error_of(function, *arguments):
    with pytest.raises(tf.errors.OpError) as raised:
        function(*arguments)
    return raised.value


def test_a_marked_message_is_found_in_the_error_of_a_graph():
    error = error_of(check, 0, marked(MESSAGE))
    assert str(error) != MESSAGE
    assert readable_message(error) == MESSAGE


def test_other_errors_have_no_marked_message():
    assert readable_message(error_of(check, 0, MESSAGE)) is None
    assert readable_message(ValueError(MESSAGE)) is None


def test_a_marked_message_is_raised_alone_or_with_the_position():
    exact = f"^{re.escape(MESSAGE)}"
    with pytest.raises(ValueError, match=f"{exact}$"), readable_errors():
        check(0, marked(MESSAGE))
    with (
        pytest.raises(ValueError, match=rf"{exact} This was in batch 3 of epoch 1\.$"),
        readable_errors(lambda: "in batch 3 of epoch 1"),
    ):
        check(0, marked(MESSAGE))


def test_an_error_of_the_data_set_is_raised_with_its_cause():
    def generate():
        yield np.float32(1)
        raise KeyError("sample 7")

    data = tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec(()))
    message = "The data set failed in batch 2 of epoch 1: KeyError: 'sample 7' The student has"
    with (
        pytest.raises(RuntimeError, match=message) as raised,
        readable_errors(lambda: "in batch 2 of epoch 1"),
    ):
        list(data)
    assert isinstance(raised.value.__cause__, tf.errors.OpError)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (tf.errors.UnavailableError(None, None, "Connection reset\nby peer"), "Connection reset"),
        (
            tf.errors.InternalError(None, None, "Collective ops is aborted by: worker 1\nmore"),
            "worker 1",
        ),
    ],
)
def test_a_lost_worker_is_reported(error, cause):
    message = f"Another worker is gone in batch 1. .* TensorFlow reports: {cause}$"
    with pytest.raises(RuntimeError, match=message), readable_errors(lambda: "in batch 1"):
        raise error


@pytest.mark.parametrize(
    "error", [tf.errors.NotFoundError(None, None, "no file"), ValueError("another error")]
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as raised, readable_errors():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("message", ["Teacher 'größe' has 2 \"outputs\".\nSee C:\\temp.", "a'b"])
def test_escaped_characters_are_restored(message, eager):
    function = check.python_function if eager else check
    assert readable_message(error_of(function, tf.constant(0), marked(message))) == message
