"""The CIFAR-100 example: the networks are those of the papers, and the recipe runs."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"

# MirroredStrategy takes both of two logical devices.
MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv.pop(1))
import cifar100
cifar100.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def network():
    path = FOLDER / "cifar100_networks.py"
    spec = importlib.util.spec_from_file_location("cifar100_networks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.network


@pytest.mark.parametrize(
    ("name", "published"),
    [("vgg13", 9462180), ("vgg8", 3965028), ("resnet32x4", 7433860), ("resnet8x4", 1233540)],
)
def test_the_networks_have_the_published_numbers_of_parameters(network, name, published):
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
    start = [str(FOLDER / "cifar100.py")]
    if replicas > 1:
        start = ["-c", MIRRORED, str(FOLDER)]
    command = [sys.executable, *start, "--quick", "--out", str(tmp_path), *options.split()]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    (file,) = (tmp_path / "quick").glob("*.json")
    row = json.loads(file.read_text())
    assert (row["teachers"], row["replicas"], row["epochs"]) == (teachers, replicas, 1)
    assert row["int8_bytes"] < row["parameters"] * 1.2
