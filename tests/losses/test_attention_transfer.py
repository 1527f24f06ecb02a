import numpy as np
import pytest

from keras_kd.losses import AttentionTransfer
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(AttentionTransfer("a", "b"), "at_p2", "features", file, dtype)


def test_the_larger_map_is_pooled_to_the_size_of_the_smaller():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(2, 3, 3, 4))
    # Each position of the small map is repeated four times in the large one.
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    for teacher, student in ((small, large), (large, small)):
        values, _ = value_and_gradient(AttentionTransfer("a", "b"), teacher, student)
        np.testing.assert_allclose(values, 0, atol=1e-20)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_a_map_of_zeros_has_finite_values_and_no_gradient(p):
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(2, 4, 4, 3))
    values, gradient = value_and_gradient(AttentionTransfer("a", "b", p), teacher, 0 * teacher)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(gradient, 0)


def test_an_exponent_below_one_is_rejected():
    with pytest.raises(ValueError, match=r"`p` must be at least 1. Received: p=0.5"):
        AttentionTransfer("a", "b", p=0.5)
