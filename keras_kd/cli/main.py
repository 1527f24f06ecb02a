"""The command line `keras-kd`: distill, export, benchmark, report, demo.

Progress and errors go to standard error, results to standard output. Exit codes: 0 for success, 1
for a refusal (a file that cannot be read, a model that does not fit, an export that is too far
off), 2 for arguments that are wrong.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from keras_kd.cli import benchmark, demo, distill, export, report
from keras_kd.cli.output import UsageError, finite
from keras_kd.version import __version__

COMMANDS = {
    "distill": (distill, "train a student from a teacher"),
    "export": (export, "write a verified .tflite file"),
    "benchmark": (benchmark, "time a .tflite file"),
    "report": (report, "compare models and files on one page"),
    "demo": (demo, "the whole way on real digits, in about a minute"),
}
_OURS = (ValueError, TypeError, RuntimeError, OSError, ImportError)
_INTERRUPTED = 130  # As shells have it.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What is behind `keras-kd`. Defaults to the process's own.

    Returns:
        The exit code.

    Raises:
        SystemExit: With code 2, if the arguments are wrong; with 0 after `--help`.
    """
    options = parser().parse_args(arguments)
    try:
        # What libraries print on the way is no result.
        with contextlib.redirect_stdout(sys.stderr):
            outcome = options.run(options)
    except UsageError as error:
        options.parser.error(str(error))
    except KeyboardInterrupt:
        print(f"{options.parser.prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        print(f"{options.parser.prog}: error: {_sentence(error)}", file=sys.stderr)
        return 1
    numbers = json.dumps(finite(outcome.numbers), indent=1, allow_nan=False)
    print(numbers if options.json else outcome.text)
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="keras-kd",
        description="From a trained Keras teacher to a small .tflite file that LiteRT runs.",
        epilog="keras-kd COMMAND --help says what a command takes, with examples.",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.set_defaults(run=module.run, parser=command)
    return top


def _sentence(error: Exception) -> str:
    """Returns what to say of an error: our own sentence, or the first one of another's."""
    text = str(error).strip()
    first = text.split("\n\n")[0]
    line = " ".join(first.split())[:1500]
    return line if line and isinstance(error, _OURS) else f"{type(error).__name__}: {line}"


if __name__ == "__main__":
    sys.exit(main())
