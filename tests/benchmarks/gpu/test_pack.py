"""The folder for a machine without a network."""

import os
import subprocess
import sys

from benchmarks.gpu.pack import COMMAND, copy_sources


def test_the_command_is_short():
    assert len(COMMAND.format(folder=".gpu")) < 2000


def test_the_sources_are_complete(tmp_path):
    copy_sources(tmp_path)
    code = (
        "import benchmarks.gpu.__main__, benchmarks.gpu.against_torch, benchmarks.runner.results, "
        "keras_kd as kd; print(kd.__file__, kd.Distiller.__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [str(tmp_path / "keras_kd" / "__init__.py"), "Distiller"]
