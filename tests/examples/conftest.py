"""Run an example as a user does, `python examples/NAME.py`, but in the process of the tests."""

import runpy
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Return a function that runs an example with command-line arguments and returns its output."""

    def run(name, *arguments):
        path = str(EXAMPLES / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    yield run
    keras.backend.clear_session()
