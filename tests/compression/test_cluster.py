"""Clustering: no more values than asked, in the model and in the file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy
from tests.compression import files, models
from tests.compression.test_prune import noughts, pruned, wide


def clustered(student, clusters=8, **kwargs):
    x, y = toy.data(32)
    kwargs = {"data": (x, y), "batch_size": 8, "epochs": 1, "verbose": 0, **kwargs}
    return kd.compression.cluster(student, clusters, loss=toy.sparse_loss(), **kwargs)


def values(weight):
    return len(np.unique(weight))


def with_noughts(student, counts):
    """The student with so many weights of its kernels left, the largest."""
    for name, count in counts.items():
        kernel = student.get_layer(name).kernel.numpy()
        least = np.sort(np.abs(kernel), axis=None)[-count]
        student.get_layer(name).kernel.assign(np.where(np.abs(kernel) >= least, kernel, 0))
    return student


@pytest.fixture(scope="module")
def result():
    x, y = toy.data(16, seed=1)
    teacher = toy.cnn("teacher", seed=1)
    return clustered(wide(), teachers=teacher, validation_data=(x, y), epochs=2)


def test_each_kernel_has_as_many_values_as_asked(result):
    for name in ("first", "second", "dense", "logits"):
        assert values(result.model.get_layer(name).kernel) == 8, name
    assert values(result.model.get_layer("depthwise").kernel) == 72
    assert result.history["clusters"] == [8, 8]


def test_values_and_their_places_are_trained(result):
    start = clustered(wide(), optimizer=keras.optimizers.SGD(0.0)).model.get_layer("second").kernel
    end = result.model.get_layer("second").kernel
    assert not set(np.unique(start)) & set(np.unique(end))


def test_the_result_is_a_plain_model_that_scores_what_validation_said(result):
    assert type(result.model) is type(wide())
    result.model.compile(loss=toy.sparse_loss())
    loss = result.model.evaluate(*toy.data(16, seed=1), verbose=0)
    np.testing.assert_allclose(loss, result.history["val_loss"][-1], rtol=1e-5)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_file_has_as_many_values_as_the_model(result, quantization, tmp_path):
    path = tmp_path / "clustered.tflite"
    kd.export.to_tflite(result.model, path, quantization, calibration=toy.data(32)[0])
    found = {kernel.size: kernel for kernel in files.kernels(path)}
    for layer in ("first", "second", "dense", "logits"):
        kernel = np.asarray(result.model.get_layer(layer).kernel)
        if quantization == "float32":
            np.testing.assert_array_equal(np.unique(found[kernel.size]), np.unique(kernel))
        else:
            # An int8 kernel has a scale for each output channel, here the first axis.
            assert max(map(values, found[kernel.size])) <= 8


def test_the_noughts_of_a_pruned_student_stay():
    kernels = {"first": 18, "second": 144, "dense": 192, "logits": 24}
    student = with_noughts(wide(), kernels)
    result = clustered(student)
    for name in ("first", "second", "dense", "logits"):
        before, after = (m.get_layer(name).kernel.numpy() for m in (student, result.model))
        np.testing.assert_array_equal(before == 0, after == 0)
        assert values(after) == 8
    plans = {plan.name: plan.reason for plan in result.layers}
    assert plans["dense"] == "kernel, 50% of it noughts that stay"
    assert result.history["sparsity"] == [0.5]
    anew = clustered(student, preserve_sparsity=False)
    assert noughts(anew.model.get_layer("dense").kernel) == 0


def test_each_channel_of_a_convolution_can_have_values_of_its_own():
    kernel = clustered(wide(), 4, per_channel=True).model.get_layer("second").kernel.numpy()
    assert [values(kernel[..., i]) for i in range(8)] == [4] * 8
    assert values(kernel) == 32


@pytest.mark.parametrize("start", ["density", "linear", "random"])
def test_other_starts(start):
    student = models.of(layers.Dense(4, name="dense"), (20,))
    data = (np.ones((8, 20)), np.zeros(8))
    result = clustered(student, 5, start=start, data=data)
    assert values(result.model.get_layer("dense").kernel) <= 5


def attention():
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    head = layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(y))
    return models.randomized(keras.Model(x, head))


def recurrent():
    cells = [layers.LSTMCell(6), layers.GRUCell(5)]
    stack = layers.RNN(cells, return_sequences=True, name="cells")
    return models.tokens(stack, layers.Bidirectional(layers.GRU(6), name="both"), layers.Dense(4))


@pytest.mark.parametrize("make", [attention, pytest.param(recurrent, marks=pytest.mark.slow)])
def test_attention_recurrent_layers_and_embeddings_are_clustered_and_pruned(make):
    student = make()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (16, 7)) if make is recurrent else rng.random((16, 5, 4))
    data = (x, rng.integers(0, 4, 16))
    result = clustered(student, 4, data=data)
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    assert {values(kernel) for kernel in kernels} == {4}
    result = pruned(student, 0.5, data=data)
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    for kernel in kernels:
        if "ward_gru" in kernel.path:
            assert noughts(kernel) == 0
        else:
            assert abs(noughts(kernel) - np.size(kernel) / 2) <= 0.5, kernel.path


def test_a_kernel_of_fewer_weights_than_values_is_left_and_a_pruned_one_keeps_its_noughts():
    student = with_noughts(wide(), {"second": 40, "dense": 30, "logits": 12})
    result = clustered(student, 40)
    plans = {plan.name: (plan.action, plan.reason) for plan in result.layers}
    assert plans["first"] == ("left", "36 weights are not more than 40 values")
    assert plans["dense"] == ("clustered", "kernel, 92% of it noughts that stay")
    for name, most in (("second", 40), ("dense", 31), ("logits", 13)):
        before, after = (m.get_layer(name).kernel.numpy() for m in (student, result.model))
        np.testing.assert_array_equal(before == 0, after == 0)
        assert values(after) <= most


def test_two_values_of_which_one_is_nought_are_refused():
    student = with_noughts(wide(), {"dense": 30})
    with pytest.raises(ValueError, match="at least 3 where noughts stay, as those of 'dense' do"):
        clustered(student, 2)


def test_channels_share_their_values_where_one_of_them_is_nought():
    student = models.of(layers.Conv2D(3, 3, name="conv"), models.MAP)
    kernel = student.get_layer("conv").kernel
    kernel.assign(kernel.numpy() * [0, 1, 1])
    data = (np.ones((8, *models.MAP)), np.zeros((8, 6, 6)))
    result = clustered(student, 4, per_channel=True, data=data)
    found = result.model.get_layer("conv").kernel.numpy()
    assert not found[..., 0].any()
    assert values(found) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"clusters": 1}, "`clusters` must be a whole number of at least 2. Received: clusters=1"),
        ({"clusters": 2.5}, "`clusters` must be a whole number"),
        ({"start": "kmeans"}, r"`start` must be one of \['kmeans\+\+', 'density'"),
        ({"skip": ["no"]}, "`skip` must name layers of the student"),
        ({"clusters": 500}, "'wide' has no layer that can be clustered"),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        clustered(wide(), **arguments)
