"""`make demo`'s script, end to end on the embedded digits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "quickstart.py"


@pytest.mark.slow
def test_the_quickstart_measures_teacher_students_and_int8_file(tmp_path):
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--epochs", "2", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "table.json").read_text())
    teacher, alone, distilled, int8 = rows
    assert alone["parameters"] == distilled["parameters"] < teacher["parameters"] / 10
    assert int8["bytes"] < distilled["bytes"] < teacher["bytes"] / 10
    assert all(0 <= row["accuracy"] <= 1 and row["latency_us"] > 0 for row in rows)
    assert "times smaller" in result.stdout
    assert (tmp_path / "accuracy_and_size.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table.md").read_text().count("\n") == 6
