"""Patterns keep the largest weights, blocks, or weights of each group."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.kernels import list_kernels
from keras_kd.compression.sparsity_pattern import as_pattern
from keras_kd.compression.tfmot.imports import import_tfmot


def kernel_of(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer])
    return next(kernel for one in list_kernels(model) for kernel in one.kernels)


def mask(pattern, kernel, weights, sparsity=0.5):
    return np.asarray(pattern.mask(kernel, keras.ops.convert_to_tensor(weights), sparsity))


def test_the_smallest_weights_become_zero():
    kernel = kernel_of(layers.Dense(2), (3,))
    weights = np.array([[0.1, -3.0], [2.0, -0.2], [0.3, 1.0]], "float32")
    expected = [[False, True], [True, False], [False, True]]
    pattern = as_pattern(0.5, (1, 1), "avg")
    np.testing.assert_array_equal(mask(pattern, kernel, weights), expected)
    # One weight always remains.
    assert mask(pattern, kernel, weights, 0.99).sum() == 1


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (layers.Dense(5), (6,), (0,)),
        (layers.Conv1D(5, 2), (4, 6), (1,)),
        (layers.Conv2DTranspose(5, 2), (4, 4, 6), (3,)),
        (layers.EinsumDense("abcd,cde->abe", (None, 5)), (4, 3, 4), (0, 1)),
    ],
)
def test_m_of_n_runs_along_the_input_channels(layer, shape, axes):
    kernel = kernel_of(layer, shape)
    weights = np.random.default_rng(0).normal(size=kernel.variable.shape).astype("float32")
    kept = mask(as_pattern((2, 4), (1, 1), "avg"), kernel, weights)
    rest = [axis for axis in range(weights.ndim) if axis not in axes]
    rows = kept.transpose(*rest, *axes).reshape(-1, np.prod([weights.shape[a] for a in axes]))
    magnitudes = np.abs(weights).transpose(*rest, *axes).reshape(rows.shape)
    for start in range(0, rows.shape[1], 4):
        group, values = rows[:, start : start + 4], magnitudes[:, start : start + 4]
        kept_by_rank = np.argsort(np.argsort(-values)) < 2
        np.testing.assert_array_equal(group, kept_by_rank)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_blocks_are_those_of_tfmot(pooling):
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

    assert import_tfmot()
    kernel = kernel_of(layers.Dense(7), (10,))
    weights = np.random.default_rng(0).normal(size=(10, 7)).astype("float32")
    variable = [(keras.ops.convert_to_tensor(weights), None, None)]
    reference = pruning_impl.Pruning(
        lambda: 1, variable, lambda step: (True, 0.6), (4, 2), pooling.upper()
    )
    expected = reference._maybe_update_block_mask(variable[0][0])[1]
    found = mask(as_pattern(0.6, (4, 2), pooling), kernel, weights, 0.6)
    np.testing.assert_array_equal(found, expected)


def test_layers_without_known_channels_are_left():
    embedding = kernel_of(layers.Embedding(9, 4), (3,))
    assert as_pattern((2, 4), (1, 1), "avg").obstacle(embedding)
    assert not as_pattern(0.5, (2, 2), "avg").obstacle(embedding)
    assert not as_pattern(0.5, (1, 1), "avg").obstacle(embedding)


@pytest.mark.parametrize(
    "arguments", [(1.0, (1, 1), "avg"), ((4, 4), (1, 1), "avg"), (0.5, (0, 1), "avg")]
)
def test_invalid_patterns_are_rejected(arguments):
    with pytest.raises(ValueError, match="Received:"):
        as_pattern(*arguments)
