"""Files that are there whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_write(path: Path, suffix: str) -> Iterator[Callable[[bytes], Any]]:
    """Gives a function that writes; the file appears under its name when all has gone well.

    Args:
        path: Where to write.
        suffix: What the name must end in, such as `".tflite"`.

    Raises:
        ValueError: If the path has another ending, or is a folder.
        OSError: If the folder does not exist or cannot be written.
    """
    require_writable(path, suffix)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Expected a folder that can be written. Received: '{path.parent}', which cannot "
            f"({error.strerror}). Choose another folder, or ask for the right to write there",
        ) from error
    try:
        with file:
            yield file.write
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_writable(path: Path, suffix: str) -> None:
    """Refuses a path that a file cannot go to, before there is anything to write.

    Args:
        path: Where the file shall go.
        suffix: What its name must end in.

    Raises:
        ValueError: If the path has another ending, or is a folder.
        NotADirectoryError: If its folder does not exist.
    """
    if path.suffix != suffix or path.is_dir():
        raise ValueError(
            f"Expected the path of a file that ends in '{suffix}'. Received: '{path}'. Name the "
            f"file, for example 'model{suffix}'."
        )
    if not path.parent.is_dir():
        raise NotADirectoryError(
            f"Expected a path in a folder that exists. Received: '{path}', whose folder "
            f"'{path.parent}' is none. Create the folder first."
        )
