"""The example of compression, on the embedded digits."""

import re

import pytest


@pytest.mark.slow
def test_pruned_student_is_smaller_after_gzip(tmp_path, run_example):
    printed = run_example("compress_student.py", "--quick", "--out", tmp_path, eager=True)
    rows = re.findall(r"^(\w.*?) +[\d.]+% .* ([\d,]+) after gzip", printed, re.MULTILINE)
    sizes = {name: int(size.replace(",", "")) for name, size in rows}
    assert list(sizes) == ["distilled", "pruned", "pruned, quantization-aware"]
    assert sizes["pruned, quantization-aware"] < 0.65 * sizes["distilled"]
    assert len(list((tmp_path / "stages").iterdir())) == 4
