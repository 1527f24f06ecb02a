"""Runs an example as a user would, `python examples/NAME.py`, in a process of its own."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

# MirroredStrategy takes both of two logical devices.
ON_TWO_DEVICES = """
import runpy, sys
from pathlib import Path
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
del sys.argv[0]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(name, *arguments, two_devices=False):
    """What it prints."""
    start = ["-c", ON_TWO_DEVICES] if two_devices else []
    command = [sys.executable, *start, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout
