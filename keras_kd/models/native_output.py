"""What TensorFlow, the converter and LiteRT print to standard error, around Python's own stream."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_STDERR = 2  # The file descriptor that native code writes to.


@contextlib.contextmanager
def hold_native_output(show_on: tuple[type[BaseException], ...] = (Exception,)) -> Iterator[None]:
    """Hold back what native code prints to standard error, and drop it at the end.

    Text that Python writes to `sys.stderr`, such as warnings and progress, appears at once.

    Args:
        show_on: Errors after which the held text is printed. Defaults to all.
    """
    try:
        shown = os.dup(_STDERR)
    except OSError:  # The process has no standard error.
        yield
        return
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        stack.callback(os.close, shown)
        if _is_native(sys.stderr):
            stream = stack.enter_context(os.fdopen(os.dup(shown), "w", buffering=1))
            stack.enter_context(contextlib.redirect_stderr(stream))
        os.dup2(held.fileno(), _STDERR)
        stack.callback(os.dup2, shown, _STDERR)
        try:
            yield
        except show_on:
            held.seek(0)
            os.write(shown, held.read())
            raise


def _is_native(stream: object) -> bool:
    """Return whether a Python stream writes to the descriptor of native code."""
    try:
        stream.flush()
        return stream.fileno() == _STDERR
    except (AttributeError, OSError, ValueError):  # No stream, one without a file, or closed.
        return False
