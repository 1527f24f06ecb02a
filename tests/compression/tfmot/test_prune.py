"""Students that tensorflow-model-optimization prunes have the requested sparsity."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.tfmot.imports import import_tfmot
from tests import toy
from tests.compression import models, runs
from tests.compression.runs import count_zeros, wide


def prune_mlp(sparsity, engine="tfmot", **kwargs):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(32, 5)), rng.integers(0, 4, 32))
    return runs.prune(toy.mlp("student", units=20), sparsity, data=data, engine=engine, **kwargs)


def test_the_sparsity_grows_over_half_of_the_steps():
    history = prune_mlp(0.6, epochs=4).history["sparsity"]
    assert 0.4 < history[0] < 0.6
    assert history[1] == history[3] == pytest.approx(0.6, abs=0.002)


def test_a_schedule_of_tfmot_is_used_unchanged():
    schedule = import_tfmot().sparsity.keras.ConstantSparsity(0.25, 1, frequency=1)
    assert prune_mlp(0.8, schedule=schedule, epochs=1).history["sparsity"][-1] == 0.25


def test_two_of_four_weights_along_the_inputs_become_zero():
    result = runs.prune(wide(), (2, 4), epochs=1, engine="tfmot")
    kernel = np.asarray(result.model.get_layer("second").kernel)
    assert np.all((kernel == 0).sum(axis=2) == 2)
    kernel = np.asarray(result.model.get_layer("logits").kernel)
    assert np.all((kernel.reshape(3, 4, 4) == 0).sum(axis=1) == 2)


def test_blocks_become_zero_together_in_matrices_only():
    result = runs.prune(
        wide(), 0.5, block_size=(4, 2), block_pooling="max", epochs=1, engine="tfmot"
    )
    kernel = np.asarray(result.model.get_layer("dense").kernel) == 0
    blocks = kernel.reshape(8, 4, 6, 2).sum(axis=(1, 3))
    assert set(blocks.ravel()) == {0, 8}
    assert (blocks == 8).sum() == 24
    assert count_zeros(result.model.get_layer("second").kernel) == 0
    assert runs.actions(result)["second"] == ("kept", "blocks require a matrix")


@pytest.mark.parametrize("block_size", [(1, 4), (4, 4)])
def test_a_matrix_with_one_row_of_blocks_is_left(block_size):
    actions = runs.actions(prune_mlp(0.5, block_size=block_size, epochs=1))
    assert actions["hidden"][0] == "pruned"
    assert actions["head"] == (
        "kept",
        "tensorflow-model-optimization requires two rows and two columns of blocks",
    )


def separable():
    steps = [layers.SeparableConv2D(6, 3, name="separable"), layers.GlobalAveragePooling2D()]
    return models.randomized(keras.Sequential([keras.Input(models.MAP), *steps, layers.Dense(4)]))


def siamese():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="dense")], name="branch")
    one, other = keras.Input((6,), name="one"), keras.Input((6,), name="other")
    both = layers.Concatenate()([inner(one), inner(other)])
    return models.randomized(keras.Model([one, other], layers.Dense(2, name="head")(both)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(separable, {"separable": [0, 12]}), (siamese, {"branch": [9], "head": [6]})],
)
def test_separable_and_shared_layers_are_pruned(make, expected):
    student = make()
    result = runs.prune(student, 0.5, data=runs.random_data(student), engine="tfmot")
    for name, counts in expected.items():
        weights = [w for w in result.model.get_layer(name).weights if "bias" not in w.path]
        assert [count_zeros(weight) for weight in weights] == counts


def test_a_subclassed_student_is_rejected():
    with pytest.raises(ValueError, match="which is subclassed. Build it with the functional API"):
        runs.prune(models.subclassed(), engine="tfmot")


def test_each_kernel_has_the_sparsity_of_the_native_engine(pruned):
    teacher = toy.cnn("teacher", seed=1)
    result = runs.prune(wide(), teachers=teacher, engine="tfmot")
    for name in (*runs.KERNELS, "depthwise"):
        one, other = (r.model.get_layer(name).kernel for r in (result, pruned))
        assert count_zeros(one) == count_zeros(other), name
    reason = "tensorflow-model-optimization does not prune DepthwiseConv2D"
    assert runs.actions(result)["depthwise"] == ("kept", reason)


@pytest.mark.parametrize("sparsity", [0.7, (2, 4)])
def test_both_engines_give_the_same_weights(sparsity):
    optimizer = keras.optimizers.SGD(0.1)
    arguments = {"schedule": 1.0, "epochs": 3, "optimizer": optimizer}
    one = prune_mlp(sparsity, **arguments).model
    other = prune_mlp(sparsity, **{**arguments, "engine": "native"}).model
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=a.path)
