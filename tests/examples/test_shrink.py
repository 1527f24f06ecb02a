"""The example of shrink, on the embedded digits."""

import re


def test_shrunk_student_fits_into_the_budget(tmp_path, run_example):
    options = ("--quick", "--bytes", 14_000)
    printed = run_example("shrink.py", "--out", tmp_path, *options, eager=True)
    assert re.search(r"^block1_a +48 +block1_a +block1_b$", printed, re.MULTILINE)
    assert len(re.findall(r"^\w.* [\d.]+%$", printed, re.MULTILINE)) == 4
    assert (tmp_path / "student.tflite").stat().st_size < 1.1 * 14_000
