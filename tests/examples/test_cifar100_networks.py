"""The networks of the CIFAR-100 example are those of the papers."""

import numpy as np
import pytest

from examples.cifar100_networks import build_network


@pytest.mark.parametrize(
    ("name", "published"),
    [("vgg13", 9462180), ("vgg8", 3965028), ("resnet32x4", 7433860), ("resnet8x4", 1233540)],
)
def test_number_of_parameters_is_the_published_one(name, published):
    model = build_network(name)
    weights = [np.asarray(variable) for variable in model.trainable_variables]
    assert sum(weight.size for weight in weights) == published
    assert model.get_layer("features").input.shape[1] == (4 if "vgg" in name else 8)
    # PyTorch's weight decay g + 5e-4 w is the gradient of 2.5e-4 w², for every weight.
    decay = sum(float(np.sum(weight**2)) for weight in weights) * 2.5e-4
    np.testing.assert_allclose(float(sum(model.losses)), decay, rtol=1e-5)
