"""Options of a command in a TOML file: `--config run.toml`."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPTION = "--config"


def expand_config(parsers: argparse._SubParsersAction, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the options of the file that `--config` names.

    An option of the command line replaces that of the file.

    Args:
        parsers: The parsers of the commands.
        arguments: The command, its arguments and options.
    """
    words = list(arguments)
    path = _find_path(words)
    parser = parsers.choices.get(words[0]) if words else None
    if path is None or parser is None:
        return words
    known = parser._option_string_actions
    found = []
    for key, value in _read(Path(path), parser).items():
        option = f"--{key.replace('_', '-')}"
        if option not in known or option == OPTION:
            parser.error(
                f"argument {OPTION}: '{path}' has the key '{key}', which is no option of "
                f"'{words[0]}'"
            )
        if not any(word == option or word.startswith(f"{option}=") for word in words):
            found += _as_words(option, value, known[option])
    return [*words, *found]


def _find_path(words: Sequence[str]) -> str | None:
    for i, word in enumerate(words):
        if word == OPTION and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(f"{OPTION}="):
            return word.partition("=")[2]
    return None


def _read(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # Not a file, not text, or not TOML.
        return parser.error(f"argument {OPTION}: '{path}' cannot be read as TOML ({error})")


def _as_words(option: str, value: Any, action: argparse.Action) -> list[str]:
    """Return the words that stand for an option and its value on the command line."""
    if isinstance(value, bool):
        return [option] if value else []
    values = [str(one) for one in (value if isinstance(value, list) else [value])]
    if action.nargs == "+":
        return [option, *values]
    return [f"{option}={one}" for one in values]
