"""Results of commands: numbers for programs, text for people."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_kd.files import text_table


@dataclass(frozen=True)
class Outcome:
    """Result of a command.

    Attributes:
        numbers: Output with `--json`.
        text: Output without it.
        code: The exit code.
    """

    numbers: dict[str, Any]
    text: str
    code: int = 0


class UsageError(Exception):
    """Arguments that contradict each other: printed with the usage, exit code 2."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is aligned to the left and the others to the right."""
    return text_table(header, rows, right=range(1, len(header)), rule=False)


def keras_verbosity() -> int:
    """Return Keras's `verbose`: a progress bar on a terminal, otherwise one line per epoch."""
    return 1 if sys.stderr.isatty() else 2


def replace_non_finite(value: Any) -> Any:
    """Return nested values with `None` for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: replace_non_finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_non_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
