"""Clustered students have the requested number of values, in the model and in the file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy
from tests.compression import files, models, runs
from tests.compression.runs import KERNELS, count_values, count_zeros, keep_largest, wide


def test_each_kernel_has_the_requested_number_of_values(clustered):
    for name in KERNELS:
        assert count_values(clustered.model.get_layer(name).kernel) == 8, name
    assert count_values(clustered.model.get_layer("depthwise").kernel) == 72
    assert clustered.history["clusters"] == [8]


def test_values_are_trained(clustered):
    start = runs.cluster(wide(), optimizer=keras.optimizers.SGD(0.0)).model
    start, end = (m.get_layer("second").kernel for m in (start, clustered.model))
    assert not set(np.unique(start)) & set(np.unique(end))


def test_the_result_is_a_plain_model_with_the_validation_loss_of_the_history(clustered):
    assert type(clustered.model) is type(wide())
    clustered.model.compile(loss=toy.sparse_loss(), run_eagerly=True)
    loss = clustered.model.evaluate(*toy.data(16, seed=1), verbose=0)
    np.testing.assert_allclose(loss, clustered.history["val_loss"][-1], rtol=1e-5)


def test_an_int8_file_has_as_many_values_as_the_model(clustered, tmp_path):
    path = tmp_path / "clustered.tflite"
    kd.export.to_tflite(clustered.model, path, "int8", calibration=toy.data(32)[0])
    in_file = {kernel.size: kernel for kernel in files.kernels(path)}
    for name in KERNELS:
        # An int8 kernel has one scale per output channel, which is the first axis here.
        size = np.size(clustered.model.get_layer(name).kernel)
        assert max(map(count_values, in_file[size])) <= 8


def test_zeros_of_a_pruned_student_are_preserved(pruned, pruned_and_clustered):
    for name in KERNELS:
        models_ = (pruned.model, pruned_and_clustered.model)
        before, after = (m.get_layer(name).kernel.numpy() for m in models_)
        np.testing.assert_array_equal(before == 0, after == 0)
        assert count_values(after) == 8
    expected = ("clustered", "kernel, 80% zeros preserved")
    assert runs.actions(pruned_and_clustered)["dense"] == expected
    assert pruned_and_clustered.history["sparsity"] == pruned.history["sparsity"][-1:]


@pytest.mark.traced
def test_a_compiled_training_gives_the_values_of_an_eager_one(pruned):
    arguments = {"data": toy.data(32), "batch_size": 8, "epochs": 2, "loss": toy.sparse_loss()}
    arguments |= {"optimizer": keras.optimizers.SGD(0.1), "verbose": 0}
    eager = runs.cluster(pruned.model, **arguments).model
    compiled = kd.compression.cluster(pruned.model, 8, **arguments).model
    for one, other in zip(eager.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_array_equal(one.numpy() == 0, other.numpy() == 0)


def test_zeros_are_not_preserved_on_request(pruned):
    result = runs.cluster(pruned.model, preserve_sparsity=False)
    assert count_zeros(result.model.get_layer("dense").kernel) == 0


def test_each_channel_of_a_convolution_can_have_its_own_values():
    student = models.of(layers.Conv2D(8, 3, name="conv"), models.MAP)
    data = (np.ones((8, *models.MAP)), np.zeros((8, 6, 6)))
    result = runs.cluster(student, 4, per_channel=True, data=data)
    kernel = result.model.get_layer("conv").kernel.numpy()
    assert [count_values(kernel[..., i]) for i in range(8)] == [4] * 8
    assert count_values(kernel) == 32


@pytest.mark.parametrize("start", ["density", "linear", "random"])
def test_other_initializations(start):
    student = models.of(layers.Dense(4, name="dense"), (20,))
    data = (np.ones((8, 20)), np.zeros(8))
    result = runs.cluster(student, 5, start=start, data=data)
    assert count_values(result.model.get_layer("dense").kernel) <= 5


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
    result = runs.cluster(student, 4, data=data)
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    assert {count_values(kernel) for kernel in kernels} == {4}
    result = runs.prune(student, 0.5, data=data, epochs=1, schedule=0)
    kernels = [w for w in result.model.weights if w.path.endswith(("kernel", "embeddings"))]
    for kernel in kernels:
        assert abs(count_zeros(kernel) - np.size(kernel) / 2) <= 0.5, kernel.path


def test_a_kernel_with_fewer_weights_than_values_is_left_unless_it_was_pruned():
    student = keep_largest(wide(), {"second": 40, "dense": 30, "logits": 12})
    result = runs.cluster(student, 40)
    actions = runs.actions(result)
    assert actions["first"] == ("kept", "36 weights are not more than 40 values")
    assert actions["dense"] == ("clustered", "kernel, 92% zeros preserved")
    for name, most in (("second", 40), ("dense", 31), ("logits", 13)):
        before, after = (m.get_layer(name).kernel.numpy() for m in (student, result.model))
        np.testing.assert_array_equal(before == 0, after == 0)
        assert count_values(after) <= most


def test_two_values_are_rejected_if_one_of_them_is_zero():
    student = keep_largest(wide(), {"dense": 30})
    with pytest.raises(ValueError, match="at least 3 if zeros are preserved.* layer 'dense'"):
        runs.cluster(student, 2)


def test_channels_share_their_values_if_one_of_them_is_zero():
    student = models.of(layers.Conv2D(3, 3, name="conv"), models.MAP)
    kernel = student.get_layer("conv").kernel
    kernel.assign(kernel.numpy() * [0, 1, 1])
    data = (np.ones((8, *models.MAP)), np.zeros((8, 6, 6)))
    result = runs.cluster(student, 4, per_channel=True, data=data)
    clustered_kernel = result.model.get_layer("conv").kernel.numpy()
    assert not clustered_kernel[..., 0].any()
    assert count_values(clustered_kernel) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clusters": 1}, "`clusters` must be an integer of at least 2. Received: clusters=1"),
        ({"clusters": 2.5}, "`clusters` must be an integer"),
        ({"start": "kmeans"}, r"`start` must be one of \['kmeans\+\+', 'density'"),
        ({"skip": ["no"]}, "`skip` must name layers of the student"),
        ({"custom": {}}, r"\['custom'\] belong to tensorflow-model-optimization"),
        ({"clusters": 500}, "'wide' has no layer that can be clustered"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        runs.cluster(wide(), **arguments)
