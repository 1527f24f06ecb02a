"""The examples of few labels and of self-distillation, end to end on the embedded digits."""

import re

import pytest

from tests.examples.example import run_example


@pytest.mark.slow
def test_the_student_with_few_labels_learns_more_from_everything():
    found = run_example("few_labels.py", "--steps", "150")
    alone, everything = (
        float(re.search(rf"{line}: ([\d.]+)%", found)[1])
        for line in ("100 labels alone", "the teacher beside them")
    )
    assert everything > alone + 3
    assert re.search(r"Pseudo-labels: \d+ of 900 samples kept", found)


@pytest.mark.slow
@pytest.mark.timeout(900)  # Eight trainings, which a busy machine draws out.
def test_every_form_of_self_distillation_runs():
    found = run_example("self_distillation.py", "--epochs", "2")
    assert [len(re.findall(r"[\d.]+%", line)) for line in found.splitlines() if "%" in line] == [
        *(1, 1, 2, 1, 2, 3)
    ]
