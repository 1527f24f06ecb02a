"""Runs an example as a user would, `python examples/NAME.py`, in a process of its own."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"

CHANGED = """
import runpy, sys
from pathlib import Path
import tensorflow as tf

script, eagerly, devices = sys.argv[1], sys.argv[2] == "True", int(sys.argv[3])
tf.config.run_functions_eagerly(eagerly)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
sys.path.insert(0, str(Path(script).parent))
sys.argv = [script, *sys.argv[4:]]
runpy.run_path(script, run_name="__main__")
"""


def run_example(name, *arguments, eagerly=False, devices=1):
    """What it prints. `eagerly` saves the tracing, which takes longer than some steps of a large
    network; with `devices`, MirroredStrategy finds that many."""
    start = [str(EXAMPLES / name)]
    if eagerly or devices > 1:
        start = ["-c", CHANGED, *start, str(eagerly), str(devices)]
    command = [sys.executable, *start, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout
