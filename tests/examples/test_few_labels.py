"""The example of few labels, on the embedded digits."""

import re

import pytest


@pytest.mark.slow
def test_unlabeled_images_improve_the_student(run_example):
    printed = run_example("few_labels.py", "--steps", "150")
    alone, distilled = (
        float(re.search(rf"{line}: ([\d.]+)%", printed)[1])
        for line in ("Student, 100 labels alone", "Student, all images with the teacher")
    )
    assert distilled > alone + 3
    assert re.search(r"Pseudo-labels: \d+ of 900 samples kept", printed)
    assert len(re.findall(r"^Student.*%$", printed, re.MULTILINE)) == 4
