"""Readable errors of a step that Keras and JAX wrap while they trace or run it."""

import contextlib
from collections.abc import Iterator

from keras_kd.models.keras_compat import unwrap_message


@contextlib.contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raise a `ValueError` of a step with its own message, without tracers and notes of JAX."""
    try:
        yield
    except ValueError as error:
        error.args = (unwrap_message(error), *error.args[1:])
        error.__notes__ = []
        raise error from None
