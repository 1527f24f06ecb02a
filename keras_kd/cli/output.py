"""What a command has to say: numbers for programs, text for people."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        numbers: What `--json` prints.
        text: What is printed else.
    """

    numbers: dict[str, Any]
    text: str


class UsageError(Exception):
    """Arguments that do not go together: said with the usage, exit code 2."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, its first column to the left and the others to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def verbosity() -> int:
    """Returns Keras's `verbose`: a progress bar on a terminal, else a line for each epoch."""
    return 1 if sys.stderr.isatty() else 2


def finite(value: Any) -> Any:
    """Returns nested values with `None` for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
