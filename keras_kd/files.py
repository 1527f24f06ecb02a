"""Files that appear complete or not at all, JSON files, and results as plain text."""

import contextlib
import json
import numbers
import os
import shutil
import textwrap
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_kd.display.html_tables import HtmlTables, Table

#: Start of the temporary names of `atomic_write` and `atomic_folder`; a killed process leaves them.
UNFINISHED = ".unfinished-"
_MAX_JSON_BYTES = 2**28
#: Characters of a line, and of a value in it, in a `repr`.
_LINE, _VALUE = 100, 80


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; the file appears at `path` if no error occurs.

    The temporary file is empty, in the same folder, and ends in the same suffixes. It is written to
    the disk before it replaces `path`, so a crash leaves either the old file or the new one.

    Raises:
        OSError: If the folder does not exist or is not writable.

    Example:
        >>> with atomic_write(path) as temporary:
        ...     model.save_weights(temporary)
    """
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}{''.join(path.suffixes)}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Expected a writable folder. Received: '{path.parent}' ({error.strerror}). Choose "
            "another folder or change its permissions",
        ) from error
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to write to; it becomes `path` if no error occurs.

    Parent folders are created. `path` must not exist, or be an empty folder, when the block ends.
    """
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for entry in (*temporary.rglob("*"), temporary):
            _flush_to_disk(entry)
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_writable(path: Path, suffix: str) -> None:
    """Reject a path that no file can be written to, before there is anything to write.

    Raises:
        ValueError: If the path does not end in `suffix`, or is a folder.
        NotADirectoryError: If its folder does not exist.
    """
    if path.suffix != suffix or path.is_dir():
        raise ValueError(
            f"Expected the path of a file that ends in '{suffix}'. Received: '{path}'. Name the "
            f"file, for example 'model{suffix}'."
        )
    if not path.parent.is_dir():
        raise NotADirectoryError(
            f"Expected a path in an existing folder. Received: '{path}', whose folder "
            f"'{path.parent}' does not exist. Create the folder first."
        )


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, completely or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path, max_bytes: int = _MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Args:
        path: The file.
        max_bytes: Largest size to read. Defaults to 256 MiB.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is larger, is not JSON, or contains another value.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"Expected at most {max_bytes} bytes in '{path}'. Received: {size} bytes.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in '{path}'. Received: other text ({error}).") from error
    if not isinstance(value, dict):
        raise ValueError(
            f"Expected a JSON object in '{path}'. Received: a value of type {type(value).__name__}."
        )
    return value


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[int] = (),
    rule: bool = True,
) -> str:
    """Return a table with aligned columns.

    Args:
        header: The column titles.
        rows: The cells of each row.
        right: Indices of the columns that are aligned to the right. Defaults to none.
        rule: Whether to draw a line below the header. Defaults to `True`.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    if rule:
        lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


class ShortRepr(HtmlTables):
    """Mixin of results: `repr` shows the fields that have a value, on a few short lines.

    Notebooks show them as a table. A dataclass needs `repr=False`.
    """

    def __repr__(self) -> str:
        return text_fields(type(self).__name__, vars(self))

    def html_tables(self) -> Mapping[str, Table]:
        """Return the fields as a table."""
        return {type(self).__name__: fields_table(vars(self))}


def fields_table(fields: Mapping[str, Any]) -> Table:
    """Return a row for each field that has a value, as `text_fields` shows it."""
    return Table((), [(name, _cell(x)) for name, x in fields.items() if not _is_empty(x)])


def results_table(name: str, results: Mapping[str, Any]) -> Table:
    """Return a row for each of several results of a kind, without the fields that none has.

    Args:
        name: Title of the column of their names.
        results: Objects with the same fields, by name.
    """
    values = [vars(result) for result in results.values()]
    shown = [key for key in values[0] if not all(_is_empty(one[key]) for one in values)]
    rows = [
        (title, *("" if _is_empty(one[key]) else _cell(one[key]) for key in shown))
        for title, one in zip(results, values, strict=True)
    ]
    return Table((name, *shown), rows, range(1, 1 + len(shown)))


def _cell(value: Any) -> str:
    """Return a value as a text in a table: large numbers with separators, strings unquoted."""
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) >= 1e4 else _short(value)
    return _short(value)


def text_fields(name: str, fields: Mapping[str, Any]) -> str:
    """Return `name(field=value, ...)` on lines of at most 100 characters.

    Numbers have four significant digits. Fields that are `None` or empty are omitted, long values
    and objects are represented by their length or class.
    """
    parts = [f"{key}={_short(v)}" for key, v in fields.items() if not _is_empty(v)]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _LINE:
        return line
    return textwrap.fill(
        line, _LINE, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, Sequence, Mapping)) and not value)


def _short(value: Any) -> str:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        whole = isinstance(value, numbers.Integral)
        return str(int(value)) if whole else f"{float(value):.4g}"
    if isinstance(value, Mapping):
        parts = [f"{key}: {_short(part)}" for key, part in value.items()]
        text = f"{{{', '.join(parts)}}}"
    elif type(value) in (list, tuple):
        text = f"[{', '.join(map(_short, value))}]"
    elif isinstance(value, os.PathLike) and not isinstance(value, ShortRepr):
        text = f"'{os.fspath(value)}'"
    else:
        text = repr(value)
    if len(text) <= _VALUE and "\n" not in text and " object at 0x" not in text:
        return text
    if isinstance(value, (Mapping, list, tuple)):
        return f"<{len(value)} entries>"
    return f"'{value[:_VALUE]}...'" if isinstance(value, str) else f"<{type(value).__name__}>"


def _flush_to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
