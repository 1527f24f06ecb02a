"""The example of compression, end to end on the embedded digits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "compress_student.py"


@pytest.mark.slow
def test_the_student_of_the_example_packs_better_and_is_found_again(tmp_path):
    def run():
        command = [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        return re.findall(r"^(\w.*?) +([\d.]+)% .* ([\d,]+) packed", result.stdout, re.MULTILINE)

    rows = run()
    assert [name for name, _, _ in rows] == ["distilled", "pruned", "pruned, aware"]
    plain, _, aware = (int(packed.replace(",", "")) for _, _, packed in rows)
    assert aware < 0.6 * plain
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").rglob("*.*")}
    again = run()
    # The plain files are written anew, from models that were loaded: their tensors' names differ.
    assert [row[:2] for row in again] == [row[:2] for row in rows]
    assert again[2] == rows[2]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").rglob("*.*")} == before
