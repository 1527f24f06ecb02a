"""The example of compression, end to end on the embedded digits."""

import re

import pytest

from tests.examples.example import run_example


@pytest.mark.slow
def test_the_student_of_the_example_packs_better_and_is_found_again(tmp_path):
    def run():
        shown = run_example("compress_student.py", "--quick", "--out", tmp_path)
        return re.findall(r"^(\w.*?) +([\d.]+)% .* ([\d,]+) packed", shown, re.MULTILINE)

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
