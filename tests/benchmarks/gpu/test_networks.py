"""Networks in mixed bfloat16."""

import keras
import numpy as np
import pytest

from benchmarks.gpu.networks import CLASSES, build


@pytest.mark.parametrize("name", ["vgg8", "resnet8x4", "tiny_teacher"])
def test_weights_and_logits_are_float32_and_the_optimizer_decays(name):
    network = build(name)
    assert {variable.dtype for variable in network.variables} == {"float32"}
    assert (network.output.dtype, network.output.shape) == ("float32", (None, CLASSES))
    assert network.layers[1].compute_dtype == "bfloat16"
    assert network.losses == []
    assert keras.config.dtype_policy().name == "float32"


def test_a_seed_sets_the_weights():
    one, same, other = (build("tiny_student", seed).get_weights()[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
