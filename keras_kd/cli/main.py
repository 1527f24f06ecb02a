"""The command line `keras-kd`: distill, export, benchmark, report, demo.

Progress and errors go to standard error, results to standard output. Exit codes: 0 for success, 1
for an error (a file that cannot be read, a model that does not match the data, an export that
differs too much), 2 for invalid arguments, 130 for an interrupt.
"""

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Sequence

from keras_kd.cli.arguments import COMMANDS, add_command
from keras_kd.cli.output import UsageError, replace_non_finite
from keras_kd.version import __version__

_READABLE_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError)
_INTERRUPTED = 130  # The code that shells use.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    Raises:
        SystemExit: With code 2 if the arguments are invalid, with 0 after `--help`.
    """
    options = make_parser().parse_args(arguments)
    try:
        # Output of libraries is not part of the result.
        with contextlib.redirect_stdout(sys.stderr):
            # Imported here: commands import TensorFlow, which takes seconds.
            command = importlib.import_module(f"keras_kd.cli.{options.command}")
            outcome = command.run(options)
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"{options.parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        print(f"{options.parser.prog}: error: {_summarize(error)}", file=sys.stderr)
        return 1
    numbers = json.dumps(replace_non_finite(outcome.numbers), indent=1, allow_nan=False)
    print(numbers if options.json else outcome.text)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="keras-kd",
        description="Distill, export, benchmark and compare Keras models and .tflite files.",
        epilog="Run keras-kd COMMAND --help for the arguments of a command and examples.",
    )
    top.add_argument("--version", action="version", version=__version__)
    parsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        parser = parsers.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_command(parser, name)
    return top


def _summarize(error: Exception) -> str:
    """Return the first paragraph of an error on one line, with its type if it is unexpected."""
    text = str(error).strip()
    line = " ".join(text.split("\n\n")[0].split())[:1500]
    return (
        line if line and isinstance(error, _READABLE_ERRORS) else f"{type(error).__name__}: {line}"
    )


if __name__ == "__main__":
    sys.exit(main())
