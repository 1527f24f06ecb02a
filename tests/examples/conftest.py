"""Run an example as a user does, `python examples/NAME.py`, but in the process of the tests."""

import runpy
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # As for a script in that folder.


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Return a function that runs an example with command-line arguments and returns its output.

    With `eager=True` nothing is traced, which takes half the time for a few batches of images.
    """

    def run(name, *arguments, eager=False):
        tf.config.run_functions_eagerly(eager)
        path = str(EXAMPLES / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    yield run
    tf.config.run_functions_eagerly(False)
    keras.backend.clear_session()
