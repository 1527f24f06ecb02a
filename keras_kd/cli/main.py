"""The command line `keras-kd`: compress, distill, prune, quantize-aware, export, report, ....

Progress and errors go to standard error, results to standard output. Exit codes: 0 for success, 1
for an error (a file that cannot be read, a model that does not match the data, an export that
differs too much), 2 for invalid arguments, 3 for a budget that no file is within, 130 for an
interrupt.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from keras_kd.cli.commands import COMMANDS, add_command
from keras_kd.cli.config import expand_config
from keras_kd.cli.messages import name_options, print_warnings
from keras_kd.cli.output import UsageError, replace_non_finite
from keras_kd.models.native_output import hold_native_output
from keras_kd.version import __version__

_READABLE_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError)
_INTERRUPTED = 130  # The code that shells use.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    Raises:
        SystemExit: With code 2 if the arguments are invalid, with 0 after `--help`.
    """
    parser = make_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        parser.print_help()
        return 0
    options = parser.parse_args(expand_config(parser.commands, given))
    try:
        with _output_of_libraries(options):
            # Imported here: commands import TensorFlow, which takes seconds.
            command = importlib.import_module(f"keras_kd.cli.{options.command.replace('-', '_')}")
            outcome = command.run(options)
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"{options.parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        print(f"{options.parser.prog}: error: {_summarize(error, options)}", file=sys.stderr)
        return 1
    numbers = json.dumps(replace_non_finite(outcome.numbers), indent=1, allow_nan=False)
    print(numbers if options.json else outcome.text)
    return outcome.code


@contextlib.contextmanager
def _output_of_libraries(options: argparse.Namespace) -> Iterator[None]:
    """Keep what libraries print out of the result, and out of sight unless it is asked for."""
    with contextlib.ExitStack() as stack:
        if not options.verbose:
            # The messages of readable errors are complete without it.
            stack.enter_context(hold_native_output(show_on=(_UnexpectedError,)))
        progress = stack.enter_context(open(os.devnull, "w")) if options.quiet else sys.stderr
        stack.enter_context(contextlib.redirect_stdout(progress))
        stack.enter_context(print_warnings(options))
        try:
            yield
        except (UsageError, *_READABLE_ERRORS):
            raise
        except Exception as error:
            raise _UnexpectedError(f"{type(error).__name__}: {error}") from error


class _UnexpectedError(Exception):
    """An error that no message of the package explains."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without a page of usage.

    Attributes:
        commands: The parsers of the commands.
    """

    commands: argparse._SubParsersAction

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message}. Run {self.prog} --help for the arguments.\n")


def make_parser() -> _Parser:
    """Return the parser of the command line."""
    top = _Parser(
        prog="keras-kd",
        description="Distill, export, benchmark and compare Keras models and .tflite files.",
        epilog="Run keras-kd COMMAND --help for the arguments of a command and examples.",
    )
    top.add_argument("--version", action="version", version=__version__)
    top.commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        parser = top.commands.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_command(parser, name)
    return top


def _summarize(error: Exception, options: argparse.Namespace) -> str:
    """Return the first paragraph of an error on one line, with its type if it is unexpected."""
    text = name_options(str(error).strip(), options)
    line = " ".join(text.split("\n\n")[0].split())[:1500]
    readable = (*_READABLE_ERRORS, _UnexpectedError)
    return line if line and isinstance(error, readable) else f"{type(error).__name__}: {line}"


if __name__ == "__main__":
    sys.exit(main())
