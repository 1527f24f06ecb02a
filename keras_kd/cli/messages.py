"""Messages of the library, with the options of a command where they name Python arguments."""

import argparse
import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

#: Arguments of the library that an option has another name for, of all commands or of one.
_OTHER_NAMES = {
    None: {"dataset": "--data", "student_outputs": "--outputs"},
    "compress": {
        "labels": "--no-labels",
        "max_bytes": "--max-size",
        "max_latency_us": "--max-latency",
        "path": "--out",
        "train": "--train-split",
        "test": "--test-split",
        "validation": "--validation-split",
    },
    "export": {
        "calibration": "--data",
        "labels": "--class-names",
        "path": "--out",
        "verification": "--data",
    },
    "prune": {"teachers": "--teacher"},
    "quantize-aware": {"teachers": "--teacher"},
    "report": {"path": "--out"},
}
#: Options with another meaning than the argument of their name: `loss` is the one on the labels.
_NOT_OPTIONS = {"--loss", "--help"}
#: A call such as `kd.Teacher(model, outputs='values')`, which stays code.
_CALL = r"(?P<call>[\w.]+\((?:[^()]|\([^()]*\))*\))"
_VALUE = r"'[^'`]*'|\"[^\"`]*\"|\[[^\]`]*\]|\{[^}`]*\}|\.\.\.|[\w.+-]*\w|"
_ARGUMENT = re.compile(
    rf"{_CALL}|`(?P<quoted>[a-z]\w*)(?:=(?P<in_quotes>{_VALUE}))?`"
    rf"|(?<![\w.-])(?P<bare>[a-z]\w*)=(?P<value>{_VALUE})"
)


def name_options(message: str, options: argparse.Namespace) -> str:
    """Return a message with options in place of Python arguments.

    Args:
        message: A message of the library, such as "Expected student=...".
        options: The options of the command.
    """
    known = find_options(options.parser, options.command)

    def replace(match: re.Match) -> str:
        option = known.get(match["quoted"] or match["bare"])
        if match["call"] or option is None:
            return match[0]
        value = match["value"] if match["bare"] else match["in_quotes"]
        return _write(option, value, options.parser)

    return _ARGUMENT.sub(replace, message)


@contextlib.contextmanager
def print_warnings(options: argparse.Namespace) -> Iterator[None]:
    """Print a warning as one line with the options of the command, without a line of Python."""
    original = warnings.showwarning

    def show(message: Any, *_: Any, **__: Any) -> None:
        text = " ".join(name_options(str(message), options).split())
        print(f"{options.parser.prog}: warning: {text}", file=sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original


def find_options(parser: argparse.ArgumentParser, command: str) -> dict[str, str]:
    """Return the option of a command for each argument of the library that has one."""
    known = {word for action in parser._actions for word in action.option_strings}
    own = {word.removeprefix("--").replace("-", "_"): word for word in known - _NOT_OPTIONS}
    others = {**_OTHER_NAMES[None], **_OTHER_NAMES.get(command, {})}
    return {**own, **{name: option for name, option in others.items() if option in known}}


def _write(option: str, value: str | None, parser: argparse.ArgumentParser) -> str:
    """Return an option with its value as on the command line."""
    (action,) = (action for action in parser._actions if option in action.option_strings)
    if value in (None, "", "..."):
        return option
    if action.nargs == 0:  # A flag; --no-labels stands for labels=False.
        return option if (value == "True") != option.startswith("--no-") else f"no {option}"
    return f"no {option}" if value == "None" else f"{option} {value.strip(chr(39) + chr(34))}"
