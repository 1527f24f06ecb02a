"""The CIFAR-100 example: the networks are those of the papers, and the recipe runs."""

import json

import numpy as np
import pytest

from examples.cifar100_networks import network
from tests.examples.example import run_example


@pytest.mark.parametrize(
    ("name", "published"),
    [("vgg13", 9462180), ("vgg8", 3965028), ("resnet32x4", 7433860), ("resnet8x4", 1233540)],
)
def test_the_networks_have_the_published_numbers_of_parameters(name, published):
    model = network(name)
    weights = [np.asarray(variable) for variable in model.trainable_variables]
    assert sum(weight.size for weight in weights) == published
    assert model.get_layer("features").input.shape[1] == (4 if "vgg" in name else 8)
    # PyTorch's weight decay g + 5e-4 w is the gradient of 2.5e-4 w², for every weight.
    decay = sum(float(np.sum(weight**2)) for weight in weights) * 2.5e-4
    np.testing.assert_allclose(float(sum(model.losses)), decay, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.dataset
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("options", "teachers", "replicas"),
    [
        ("--pair vgg --method screened", 2, 1),
        ("--pair resnet --method alone --strategy mirrored", 0, 2),
    ],
)
def test_the_recipe_runs(tfds_set, tmp_path, options, teachers, replicas):
    tfds_set("cifar100")
    arguments = "--quick", "--out", tmp_path, *options.split()
    run_example("cifar100.py", *arguments, two_devices=replicas == 2)
    (file,) = (tmp_path / "quick").glob("*.json")
    row = json.loads(file.read_text())
    assert (row["teachers"], row["replicas"], row["epochs"]) == (teachers, replicas, 1)
    assert row["int8_bytes"] < row["parameters"] * 1.2
