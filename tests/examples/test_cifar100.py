"""The recipe of the CIFAR-100 example."""

import json

import pytest


@pytest.mark.slow
@pytest.mark.dataset
@pytest.mark.timeout(600)
def test_recipe_trains_teachers_and_exports_the_student(tfds_set, tmp_path, run_example):
    tfds_set("cifar100")
    options = "--pair vgg --method screened --strategy mirrored"
    run_example("cifar100.py", "--quick", "--out", tmp_path, *options.split(), eager=True)
    (file,) = (tmp_path / "quick").glob("*.json")
    row = json.loads(file.read_text())
    assert (row["teachers"], row["replicas"], row["epochs"]) == (2, 1, 1)
    # One byte per weight, and what a file of few filters has beside them.
    assert row["parameters"] < row["int8_bytes"] < 1.3 * row["parameters"]
