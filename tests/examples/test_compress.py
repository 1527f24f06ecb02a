"""The example of compress, on the embedded digits."""

import re

import pytest

from tests.budget.conftest import make_fast


@pytest.mark.slow
def test_the_file_fits_into_the_budget(tmp_path, run_example, monkeypatch):
    make_fast(monkeypatch)
    printed = run_example("compress.py", "--out", tmp_path, "--quick", eager=True)
    assert re.search(r"best\.tflite: [\d,]+ bytes, for a budget of 14,000$", printed, re.MULTILINE)
    assert (tmp_path / "search" / "best.tflite").stat().st_size <= 14_000
    assert (tmp_path / "teacher.keras").exists()
