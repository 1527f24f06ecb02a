"""The script of `make demo`, on the embedded digits."""

import json

import pytest


@pytest.mark.slow
def test_quickstart_compares_teacher_students_and_int8_file(tmp_path, run_example):
    printed = run_example("quickstart.py", "--out", tmp_path, "--quick", eager=True)
    rows = json.loads((tmp_path / "table.json").read_text())
    teacher, alone, distilled, int8 = rows
    assert alone["parameters"] == distilled["parameters"] < teacher["parameters"] / 10
    assert int8["bytes"] < distilled["bytes"] < teacher["bytes"] / 10
    assert all(0 <= row["accuracy"] <= 1 and row["latency_us"] > 0 for row in rows)
    assert "times smaller" in printed
    assert (tmp_path / "accuracy_and_size.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table.md").read_text().count("\n") == 6
