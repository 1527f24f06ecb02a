"""Readable errors in place of those that a compiled graph raises.

A check inside a graph can only fail with a TensorFlow error whose message holds the sentence among
other lines. The messages of the library are marked, so they can be found again.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

import tensorflow as tf

_MARKED = re.compile(r"\[keras_kd (\w+): (.*?) :keras_kd\]", re.DOTALL)
#: The message of TensorFlow's cross-entropy for a label out of range.
_LABEL = re.compile(r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)")
#: The operation that fails where a data set raises an error.
_READING = "IteratorGetNext"
#: The message of a collective operation after another worker has stopped.
_WORKER_LOST = "Collective ops is aborted"


def marked(message: str, kind: str = "error") -> str:
    """Mark a message that is raised inside a graph, for `readable_message` to find it."""
    return f"[keras_kd {kind}: {message} :keras_kd]"


def readable_message(error: Exception) -> str | None:
    """Return the marked message inside an error, or `None` if it has none."""
    found = _MARKED.search(str(error))
    if found:
        return _unescape(found[2])
    label = _LABEL.search(str(error))
    if label is None:
        return None
    return (
        f"Labels out of range: an output has {label[2]} classes, so its labels must be integers "
        f"from 0 to {int(label[2]) - 1} (or kd.UNLABELED for none). Received: the label {label[1]}."
    )


def error_kind(error: Exception) -> str | None:
    """Return the kind of the marked message inside an error, or `None` if it has none."""
    found = _MARKED.search(str(error))
    return found[1] if found else None


def _unescape(text: str) -> str:
    """Undo the escapes that TensorFlow writes for quotes, line breaks and non-ASCII bytes."""
    try:
        return text.encode().decode("unicode_escape").encode("latin-1").decode()
    except UnicodeError:
        return text


@contextlib.contextmanager
def readable_errors(position: Callable[[], str] | None = None) -> Iterator[None]:
    """Raise readable errors in place of TensorFlow's.

    Raises:
        ValueError: If the graph raised a marked message.
        RuntimeError: If the data set raised an error, or another worker stopped.
    """
    try:
        yield
    except (tf.errors.OpError, ValueError) as error:
        where = "" if position is None else f" {position()}"
        message = readable_message(error)
        if message is not None:
            raise ValueError(f"{message} This was{where}." if where else message) from None
        if isinstance(error, ValueError):
            raise
        if _WORKER_LOST in str(error) or isinstance(error, tf.errors.UnavailableError):
            cause = re.search(rf"{_WORKER_LOST} by: (.*)|\A(.*)", str(error))
            raise RuntimeError(
                f"Another worker is gone{where}. Start all workers again; with kd.callbacks.Resume "
                "they go on from the last checkpoint that all have. TensorFlow reports: "
                f"{cause[1] or cause[2]}"
            ) from error
        if _READING not in str(error):
            raise
        cause = re.search(r"^\w+(?:Error|Exception|Interrupt): .*$", error.message, re.MULTILINE)
        raise RuntimeError(
            f"The data set failed{where}: {cause.group() if cause else error.message} The "
            "student has the weights of the step before."
        ) from error
