import argparse
import importlib

import pytest

from keras_kd.cli.commands import COMMANDS, add_command


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_module_and_options_of_output(name):
    module = importlib.import_module(f"keras_kd.cli.{name.replace('-', '_')}")
    assert callable(module.run)
    parser = argparse.ArgumentParser()
    add_command(parser, name)
    for option in ("--json", "--quiet", "--verbose", "--config"):
        assert option in parser.format_help()
