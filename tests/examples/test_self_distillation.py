"""The example of self-distillation, on the embedded digits."""

import re


def test_every_form_of_self_distillation_runs(run_example):
    printed = run_example("self_distillation.py", "--quick", eager=True)
    lines = [line for line in printed.splitlines() if "%" in line]
    assert [len(re.findall(r"[\d.]+%", line)) for line in lines] == [1, 1, 2, 1, 2, 3]
