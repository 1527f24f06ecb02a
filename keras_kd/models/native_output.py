"""What TensorFlow, the converter and LiteRT print to standard error, around Python's own stream."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

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
            stream = _PythonStream(sys.stderr, shown)
            stack.callback(stream.release)
            stack.enter_context(contextlib.redirect_stderr(stream))
        os.dup2(held.fileno(), _STDERR)
        stack.callback(os.dup2, shown, _STDERR)
        try:
            yield
        except show_on:
            held.seek(0)
            os.write(shown, held.read())
            raise


class _PythonStream(io.TextIOBase):
    """Writes Python's text around the held descriptor, and later to the original stream.

    Loggers that were made in the meantime keep it.
    """

    def __init__(self, original: TextIO, descriptor: int) -> None:
        self._original = original
        self._descriptor: int | None = descriptor

    def write(self, text: str) -> int:
        """Write the text at once."""
        if self._descriptor is None:
            return self._original.write(text)
        os.write(self._descriptor, text.encode(errors="backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Flush the original stream."""
        self._original.flush()

    def isatty(self) -> bool:
        """Return whether the text goes to a terminal."""
        return self._original.isatty() if self._descriptor is None else os.isatty(self._descriptor)

    def release(self) -> None:
        """Write to the original stream from now on."""
        self._descriptor = None


def _is_native(stream: object) -> bool:
    """Return whether a Python stream writes to the descriptor of native code."""
    try:
        stream.flush()
        return stream.fileno() == _STDERR
    except (AttributeError, OSError, ValueError):  # No stream, one without a file, or closed.
        return False
