"""Text as Keras reads it: arrays of objects instead of lists and arrays of a fixed length."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_WAY_OUT = (
    "Pass an array of objects, np.array(texts, dtype=object), a tensor, or a tf.data.Dataset of "
    "batches of texts"
)


def text_arrays(x: Any) -> Any:
    """Return data in which lists of texts, and arrays of them, are arrays of objects.

    Args:
        x: Inputs, or (x, y) and so on, in which lists of texts may stand for arrays. Other parts
            are returned unchanged.

    Raises:
        TypeError: If a list holds lists of texts, which may be samples or inputs.
        ValueError: If bytes are no text in UTF-8.
    """
    if type(x) is dict:
        return {key: text_arrays(part) for key, part in x.items()}
    if isinstance(x, np.ndarray):
        bytes_within = x.dtype == object and x.size and isinstance(x.flat[0], bytes)
        return _as_objects(x) if x.dtype.kind in "SU" or bytes_within else x
    if type(x) not in (list, tuple) or not x:
        return x
    if all(isinstance(part, (str, bytes)) for part in x):
        return _as_objects(np.array(x, dtype=object))
    if type(x) is list and all(_is_list_of_texts(part) for part in x):
        raise TypeError(
            "A list of lists of texts may be one input with several texts per sample, or several "
            "inputs. Pass np.array(texts, dtype=object) for one input, and a dict or a list of "
            f"such arrays for several. Received: a list of {len(x)} lists"
        )
    return type(x)(text_arrays(part) for part in x)


@contextlib.contextmanager
def readable_text_errors() -> Iterator[None]:
    """Explain the error of Keras for batches of text of a fixed length.

    Raises:
        TypeError: If batches of a generator or a `PyDataset` hold such arrays.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(("Invalid dtype: str", "Invalid dtype: bytes")):
            raise
        raise TypeError(
            f"Batches of text must be arrays of objects. {_WAY_OUT}. Received: arrays of text of "
            "a fixed length, such as np.array(['a', 'b'])"
        ) from error


def _as_objects(texts: np.ndarray) -> np.ndarray:
    """Return texts as an array of `str`; Keras reads no bytes."""
    decoded = [one.decode() if isinstance(one, bytes) else one for one in texts.reshape(-1)]
    return np.array(decoded, dtype=object).reshape(texts.shape)


def _is_list_of_texts(part: Any) -> bool:
    texts = type(part) in (list, tuple) and bool(part)
    return texts and all(isinstance(one, (str, bytes)) for one in part)
