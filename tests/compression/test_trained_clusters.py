"""Values and assignments are trained as by tensorflow-model-optimization."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.kernels import list_kernels
from keras_kd.compression.trained_clusters import INITIALIZATIONS, Clustering, TrainedClusters


def kernel_of(layer, shape, weights):
    model = keras.Sequential([keras.Input(shape), layer])
    kernel = list_kernels(model)[0].kernels[0]
    kernel.variable.assign(weights)
    return kernel


def clustering(weights, clusters=2, start="linear", preserve_zeros=False):
    weights = np.array(weights, "float32").reshape(-1, 1)
    kernel = kernel_of(layers.Dense(1), (len(weights),), weights)
    return Clustering(kernel, clusters, start, preserve_zeros, False)


def step(rule, one, gradient, rate=1.0):
    """Run an update of gradient descent."""
    variables = [one.kernel.variable, rule.originals[0], rule.centroids[0]]

    def apply(gradients):
        for variable, value in zip(variables, gradients, strict=True):
            variable.assign(variable - rate * np.asarray(value))

    gradient = keras.ops.convert_to_tensor(np.array(gradient, "float32").reshape(-1, 1))
    rule.update([gradient, None, None], variables, apply)
    return one.kernel.value.ravel()


def test_a_value_gets_the_sum_of_the_gradients_and_each_original_its_own():
    one = clustering([0.0, 0.1, 0.9, 1.0])
    rule = TrainedClusters([one])
    rule.start()
    np.testing.assert_allclose(one.kernel.value.ravel(), [0, 0, 1, 1])
    found = step(rule, one, [0.1, 0.2, 0.0, -0.5])
    np.testing.assert_allclose(rule.centroids[0].numpy(), [[-0.3, 1.5]], atol=1e-6)
    np.testing.assert_allclose(rule.originals[0].numpy().ravel(), [-0.1, -0.1, 0.9, 1.5], atol=1e-6)
    # 0.6 is in the middle of the values.
    np.testing.assert_allclose(found, [-0.3, -0.3, 1.5, 1.5], atol=1e-6)


def test_an_original_may_change_its_value():
    one = clustering([0.0, 0.4, 0.9, 1.0])
    rule = TrainedClusters([one])
    rule.start()
    found = step(rule, one, [0.0, -0.3, 0.0, 0.0], rate=0.5)
    np.testing.assert_allclose(found, [0.15, 0.15, 1.0, 1.0], atol=1e-6)
    found = step(rule, one, [0.0, -0.3, 0.3, 0.0], rate=0.5)
    np.testing.assert_allclose(found, [0.3, 0.85, 0.85, 0.85], atol=1e-6)


def test_zeros_stay_zero_and_get_no_gradient():
    one = clustering([0.0, 0.0, 1.0, -1.0], clusters=3, preserve_zeros=True)
    rule = TrainedClusters([one])
    rule.start()
    found = step(rule, one, [5.0, 5.0, 0.1, 0.1])
    np.testing.assert_allclose(found, [0.0, 0.0, 0.9, -1.1], atol=1e-6)
    assert rule.count_values() == 3


def test_values_may_pass_each_other():
    one = clustering([0.0, 1.0])
    rule = TrainedClusters([one])
    rule.start()
    np.testing.assert_allclose(step(rule, one, [-2.0, 2.0]), [2.0, -1.0])
    np.testing.assert_allclose(step(rule, one, [0.5, 0.0]), [1.5, -1.0])


def test_each_channel_has_its_own_values():
    weights = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype("float32")
    kernel = kernel_of(layers.Conv2D(5, 3), (6, 6, 2), weights)
    one = Clustering(kernel, 4, "kmeans++", False, True)
    rows = keras.ops.convert_to_numpy(one.rows(keras.ops.convert_to_tensor(weights)))
    np.testing.assert_array_equal(rows, np.moveaxis(weights, 3, 0).reshape(5, -1))
    np.testing.assert_array_equal(one.from_rows(rows), weights)
    rule = TrainedClusters([one])
    rule.start()
    channels = [np.unique(kernel.value[..., i]) for i in range(5)]
    assert [len(values) for values in channels] == [4] * 5
    assert rule.count_values() == 4


@pytest.mark.parametrize("start", INITIALIZATIONS)
def test_initial_values_are_within_the_weights(start):
    weights = np.random.default_rng(0).normal(size=200)
    values = clustering(weights, 6, start).first_values()
    assert values.shape == (1, 6)
    assert weights.min() - 1e-6 <= values.min() <= values.max() <= weights.max() + 1e-6
    parts = clustering(weights * (np.abs(weights) > 0.5), 6, start, True).first_values()
    assert parts.shape == (1, 5)
    assert np.abs(parts).min() > 0.4


def test_the_kernels_are_no_weights_of_the_rule():
    rule = TrainedClusters([clustering([0.0, 1.0])])
    names = ["trained_clusters/original_0", "trained_clusters/centroids_0"]
    assert sorted(weight.path for weight in rule.weights) == sorted(names)
    assert len(rule.trainable_weights) == 2
