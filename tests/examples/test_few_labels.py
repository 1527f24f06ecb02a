"""The example of few labels, on the embedded digits."""

import re


def test_every_way_to_use_unlabeled_images_runs(run_example):
    printed = run_example("few_labels.py", "--quick", eager=True)
    assert re.search(r"Pseudo-labels: \d+ of 900 samples kept", printed)
    assert len(re.findall(r"^Student.*%$", printed, re.MULTILINE)) == 4
