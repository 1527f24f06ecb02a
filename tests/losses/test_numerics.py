import numpy as np
from keras import ops

from keras_kd.losses import numerics
from tests.gradients import value_and_gradient

X = np.random.default_rng(0).normal(size=(3, 5))


def gradient(function, x):
    return value_and_gradient(function, x)[1]


def test_the_divergence_of_equal_distributions_is_zero():
    log_p = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    log_q = log_p[:, ::-1]
    expected = np.sum(np.exp(log_p) * (log_p - log_q), -1)
    np.testing.assert_allclose(numerics.kullback_leibler(log_p, log_q), expected)
    np.testing.assert_array_equal(numerics.kullback_leibler(log_p, log_p), 0)


def test_a_tap_of_one_value_per_sample_has_no_channels():
    x = np.array([[1.0, 3.0], [2.0, 6.0]])
    np.testing.assert_array_equal(numerics.mean_over_channels(x), [2, 4])
    np.testing.assert_array_equal(numerics.mean_over_channels(x[0]), x[0])


def test_a_zero_vector_has_norm_zero_and_no_gradient():
    x = X.copy()
    x[1] = 0
    np.testing.assert_allclose(numerics.l2_norm(x), np.linalg.norm(x, axis=-1, keepdims=True))
    np.testing.assert_allclose(np.linalg.norm(numerics.l2_normalize(x), axis=-1), [1, 0, 1])
    for function in (numerics.l2_norm, numerics.l2_normalize):
        slope = gradient(function, x)
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[1], 0)


def test_equal_values_are_centered_to_zeros_without_gradient():
    x = X.copy()
    x[1] = 0.1
    np.testing.assert_allclose(numerics.center(x), x - x.mean(-1, keepdims=True), atol=1e-15)
    np.testing.assert_array_equal(numerics.center(x)[1], 0)
    np.testing.assert_array_equal(gradient(lambda v: numerics.center(v) ** 3, x)[1], 0)


def test_the_gram_matrix_has_the_gradient_of_both_factors():
    weights = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(numerics.gram_matrix(X), X @ X.T)
    expected = gradient(lambda x: weights * ops.matmul(x, ops.transpose(x)), X)
    np.testing.assert_allclose(gradient(lambda x: weights * numerics.gram_matrix(x), X), expected)


def test_smooth_l1_is_quadratic_below_one_and_linear_above():
    difference = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    expected = np.array([2.5, 0.125, 0, 0.125, 2.5])
    np.testing.assert_allclose(numerics.smooth_l1(ops.convert_to_tensor(difference)), expected)
    np.testing.assert_allclose(gradient(numerics.smooth_l1, difference), [-1, -0.5, 0, 0.5, 1])


def test_samples_are_flattened_to_rows():
    assert numerics.flatten_samples(np.zeros((2, 3, 4))).shape == (2, 12)
    assert numerics.flatten_samples(X) is X


def test_the_larger_of_two_maps_is_pooled_along_each_axis():
    # The windows of adaptive pooling from 5 to 3 are 0-1, 1-3 and 3-4.
    long = np.arange(5.0).reshape(1, 5, 1, 1)
    wide = np.arange(4.0).reshape(1, 1, 4, 1).repeat(3, axis=1)
    one, other = numerics.match_sizes(np.tile(long, (1, 1, 2, 1)), wide)
    assert one.shape == other.shape == (1, 3, 2, 1)
    np.testing.assert_allclose(one[0, :, 0, 0], [0.5, 2.0, 3.5])
    np.testing.assert_allclose(other[0, 0, :, 0], [0.5, 2.5])
