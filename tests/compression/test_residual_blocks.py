"""Residual blocks are found and removed; the rest of the model stays the same."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.channel_surgery import remove_blocks
from keras_kd.compression.residual_blocks import find_blocks, select_blocks
from keras_kd.models.graph import open_graph
from tests.compression.models import randomized


def resnet(blocks=3):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, padding="same", name="stem")(x)
    for i in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"a{i}")(x)
        y = layers.Conv2D(3, 1, name=f"b{i}")(y)
        x = layers.Add(name=f"add{i}")([x, y]) if i % 2 else x + y
    x = layers.GlobalAveragePooling2D()(x)
    return randomized(keras.Model(inputs, layers.Dense(2, name="head")(x), name="resnet"))


def transformer():
    x = inputs = keras.Input((4, 6))
    for i in range(4):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 3, name=f"attention{i}")(y, y)
        y = layers.Dense(8, activation="relu", name=f"up{i}")(layers.LayerNormalization()(x))
        x = x + layers.Dense(6, name=f"down{i}")(y)
    return randomized(keras.Model(inputs, layers.Dense(2)(x)))


def test_the_blocks_of_a_model_with_their_layers():
    found = find_blocks(open_graph(resnet()))
    assert [set(block.layers) for block in found] == [{f"a{i}", f"b{i}"} for i in range(3)]
    assert len({block.stage for block in found}) == 1


def test_a_branch_that_something_else_reads_is_no_block():
    x = inputs = keras.Input((4,))
    x = layers.Dense(3)(x)
    y = layers.Dense(3, name="inner")(x)
    z = x + layers.Dense(3)(y)
    assert find_blocks(open_graph(keras.Model(inputs, [z, y]))) == []
    other = layers.Dense(3)(inputs)
    # An addition of two branches of the same input has no skip connection.
    assert find_blocks(open_graph(keras.Model(inputs, layers.Dense(3)(inputs) + other))) == []


def test_without_a_block_its_input_is_its_output():
    model = resnet()
    block = find_blocks(open_graph(model))[1]
    smaller = remove_blocks(model, [block])
    assert {"a1", "b1", "add1"}.isdisjoint(layer.name for layer in smaller.layers)
    for weight in model.get_layer("b1").weights:
        weight.assign(np.zeros(weight.shape))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(np.asarray(model(x)), np.asarray(smaller(x)), rtol=1e-5)


@pytest.mark.parametrize(("share", "kept"), [(1.0, "012"), (0.5, "01"), (0.1, "0")])
def test_a_share_of_each_stage_remains(share, kept):
    removed = select_blocks(find_blocks(open_graph(resnet())), share)
    left = {f"a{i}" for i in range(3)} - {name for block in removed for name in block.layers}
    assert left == {f"a{i}" for i in kept}


def test_attention_and_feed_forward_blocks_are_removed_in_pairs():
    result = kd.compression.shrink(transformer(), depth=0.5)
    names = {layer.name for layer in result.model.layers}
    for name in ("attention", "up", "down"):
        assert {i for i in range(4) if f"{name}{i}" in names} == {0, 2}
    assert len(result.removed_blocks) == 4
    assert result.after.parameters == result.model.count_params() < result.before.parameters


def test_depth_and_ratio_go_together():
    result = kd.compression.shrink(resnet(), 0.5, depth=0.5)
    assert [result.model.get_layer(name).bias.shape[0] for name in ("stem", "a0", "a1")] == [
        2,
        2,
        2,
    ]
    assert "a2" not in {layer.name for layer in result.model.layers}
    assert kd.compression.shrink(resnet(), depth=0.5).model.get_layer("stem").filters == 3


def test_invalid_depths_are_rejected():
    with pytest.raises(ValueError, match=r"`depth` must be in \(0, 1\]. Received: depth=0"):
        kd.compression.shrink(resnet(), depth=0)
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    with pytest.raises(ValueError, match="has no residual blocks that can be removed"):
        kd.compression.shrink(plain, depth=0.5)
