"""Students that tensorflow-model-optimization clusters have the requested number of values."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.compression import models, runs
from tests.compression.runs import KERNELS, count_values, count_zeros, keep_largest, wide


def cluster(student, clusters=8, **kwargs):
    return runs.cluster(student, clusters, engine="tfmot", **kwargs)


def test_zeros_of_a_pruned_student_are_preserved(pruned):
    pruned_and_clustered = cluster(pruned.model)
    for name in KERNELS:
        models_ = (pruned.model, pruned_and_clustered.model)
        before, after = (m.get_layer(name).kernel.numpy() for m in models_)
        np.testing.assert_array_equal(before == 0, after == 0)
        assert count_values(after) == 8
    expected = ("clustered", "kernel, 80% zeros preserved")
    assert runs.actions(pruned_and_clustered)["dense"] == expected
    assert pruned_and_clustered.history["sparsity"] == pruned.history["sparsity"][-1:]


def test_each_channel_of_a_convolution_can_have_its_own_values():
    student = models.of(layers.Conv2D(8, 3, name="conv"), models.MAP)
    data = (np.ones((8, *models.MAP)), np.zeros((8, 6, 6)))
    result = cluster(student, 4, per_channel=True, data=data)
    kernel = result.model.get_layer("conv").kernel.numpy()
    assert [count_values(kernel[..., i]) for i in range(8)] == [4] * 8
    assert count_values(kernel) == 32


def attention():
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    head = layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(y))
    return models.randomized(keras.Model(x, head))


def recurrent():
    cells = layers.RNN([layers.LSTMCell(6), layers.GRUCell(5)], return_sequences=True)
    steps = [layers.Embedding(9, 4), cells, layers.Bidirectional(layers.GRU(6)), layers.Dense(4)]
    return models.randomized(keras.Sequential([keras.Input((2,), dtype="int32"), *steps]))


@pytest.mark.parametrize("make", [attention, recurrent])
def test_attention_recurrent_layers_and_embeddings_are_clustered_and_pruned(make):
    student = make()
    data = runs.random_data(student, samples=8)
    result = cluster(student, 4, data=data)
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    assert {count_values(kernel) for kernel in kernels} == {4}
    result = runs.prune(student, 0.5, data=data, epochs=1, schedule=0, engine="tfmot")
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    for kernel in kernels:
        if "ward_gru" in kernel.path:
            assert count_zeros(kernel) == 0
        else:
            assert abs(count_zeros(kernel) - np.size(kernel) / 2) <= 0.5, kernel.path


def test_a_kernel_with_fewer_weights_than_values_is_left_unless_it_was_pruned():
    student = keep_largest(wide(), {"second": 40, "dense": 30, "logits": 12})
    result = cluster(student, 40)
    actions = runs.actions(result)
    assert actions["first"] == ("kept", "36 weights are not more than 40 values")
    assert actions["dense"] == ("clustered", "kernel, 92% zeros preserved")
    for name, most in (("second", 40), ("dense", 31), ("logits", 13)):
        before, after = (m.get_layer(name).kernel.numpy() for m in (student, result.model))
        np.testing.assert_array_equal(before == 0, after == 0)
        assert count_values(after) <= most


def test_channels_share_their_values_if_one_of_them_is_zero():
    student = models.of(layers.Conv2D(3, 3, name="conv"), models.MAP)
    kernel = student.get_layer("conv").kernel
    kernel.assign(kernel.numpy() * [0, 1, 1])
    data = (np.ones((8, *models.MAP)), np.zeros((8, 6, 6)))
    result = cluster(student, 4, per_channel=True, data=data)
    clustered_kernel = result.model.get_layer("conv").kernel.numpy()
    assert not clustered_kernel[..., 0].any()
    assert count_values(clustered_kernel) == 4
