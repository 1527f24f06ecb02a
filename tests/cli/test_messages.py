"""Messages of the library name the options of the command line."""

import argparse
import inspect
import re
import warnings
from pathlib import Path

import pytest

import keras_kd as kd
from keras_kd.cli import messages
from keras_kd.cli.commands import COMMANDS
from keras_kd.cli.main import make_parser
from keras_kd.cli.messages import find_options, name_options, print_warnings


def options_of(command):
    parser = make_parser().commands.choices[command]
    return argparse.Namespace(parser=parser, command=command)


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("report", "Expected student=..., the model", "Expected --student, the model"),
        ("report", "Expected 3 `class_names` for", "Expected 3 --class-names for"),
        ("report", "or declare `outputs=`: 'classes'", "or declare --outputs: 'classes'"),
        ("export", "keep answer='argmax'.", "keep --answer argmax."),
        ("export", "Received: calibration=None. Pass", "Received: no --data. Pass"),
        ("export", "omit them with skip_unreadable=True.", "omit them with --skip-unreadable."),
        ("compress", "`max_bytes` is low: max_bytes=9.5", "--max-size is low: --max-size 9.5"),
        ("compress", "Pass labels=False to train", "Pass --no-labels to train"),
        ("prune", "Expected `teachers` or loss=None", "Expected --teacher or loss=None"),
    ],
)
def test_an_argument_of_python_becomes_an_option(command, message, expected):
    assert name_options(message, options_of(command)) == expected


@pytest.mark.parametrize(
    "message",
    [
        "pass kd.Teacher(model, outputs='values', weights=f(1))",
        "the file a=b.keras, `call` and x.outputs=1",
        "`keep_float` must be None. Received: keep_float=[1]",
    ],
)
def test_code_and_arguments_without_an_option_stay(message):
    assert name_options(message, options_of("distill")) == message


@pytest.mark.parametrize("command", COMMANDS)
def test_every_other_name_is_an_option_of_its_command(command):
    known = find_options(options_of(command).parser, command)
    own = messages._OTHER_NAMES.get(command, {})
    assert {name: known.get(name) for name in own} == own


@pytest.mark.parametrize(
    ("command", "function", "needs_no_option"),
    [
        ("compress", kd.compress, {"teacher", "students", "augment", "class_names"}),
        ("report", kd.report.compare, {"models", "samples", "runs", "verbose"}),
    ],
)
def test_the_arguments_of_the_library_are_known(command, function, needs_no_option):
    names = set(inspect.signature(function).parameters)
    known = set(find_options(options_of(command).parser, command))
    assert names - known <= needs_no_option


def test_a_warning_is_one_line_without_python(capsys):
    with print_warnings(options_of("report")):
        warnings.warn("Declare `outputs`\nof the model.", stacklevel=1)
    assert capsys.readouterr().err == "keras-kd report: warning: Declare --outputs of the model.\n"
    assert warnings.showwarning is not None


def test_report_asks_for_the_option_of_the_student(run):
    line = "report a=teacher.keras b=student.keras c=teacher.tflite --data digits"
    code, _, errors = run(line)
    assert code == 1
    assert "Expected --student, the model whose numbers are the headline" in errors
    assert not re.search(r"student=", errors)
    assert not Path("report.html").exists()
