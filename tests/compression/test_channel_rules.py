"""Each kind of layer passes channels on, makes new ones, or keeps them whole."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.channel_rules import find_rule


def groups_of(step, shape=(4, 4, 3), **first):
    """Return the groups of a model with one step between a 1 × 1 convolution and a dense layer."""
    inputs = keras.Input(shape)
    dense = first.pop("dense", len(shape) == 1)
    make = layers.Dense(6, name="before") if dense else layers.Conv2D(6, 1, name="before")
    x = step(make(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="after")(layers.Flatten()(x)))
    return {group.name: len(group) for group in channel_groups(model).groups}


@pytest.mark.parametrize(
    "step",
    [
        layers.MaxPooling2D(),
        layers.GlobalAveragePooling2D(),
        layers.GlobalMaxPooling2D(keepdims=True),
        layers.UpSampling2D(),
        layers.ZeroPadding2D(),
        layers.Cropping2D(1),
        layers.BatchNormalization(),
        layers.Dropout(0.1),
        layers.PReLU(),
        layers.Activation("gelu"),
        layers.Rescaling(2.0),
        layers.DepthwiseConv2D(2),
        layers.DepthwiseConv2D(2, depth_multiplier=3),
        layers.Flatten(),
        layers.Reshape((16, 6)),
        layers.Reshape((96,)),
        layers.PReLU(shared_axes=[1, 2, 3]),
        lambda x: ops.relu(x) * 2.0 + 1.0,
        lambda x: ops.mean(x, axis=(1, 2)),
        lambda x: layers.Concatenate(axis=1)([x, x]),
    ],
)
def test_channels_pass_through(step):
    assert groups_of(step) == {"before": 6}


@pytest.mark.parametrize(
    "step",
    [
        layers.LayerNormalization(),
        layers.GroupNormalization(3),
        layers.Softmax(),
        layers.Activation("softmax"),
        layers.Rescaling([1.0] * 6),
        layers.BatchNormalization(axis=1),
        layers.DepthwiseConv2D(2, activation="softmax"),
        layers.Conv2D(6, 1, groups=2, name="whole", activation="softmax"),
        layers.Reshape((8, 12)),
        layers.Permute((3, 1, 2)),
        layers.Lambda(lambda x: x),
        lambda x: x * np.ones(6, "float32"),
        lambda x: ops.mean(x, axis=-1),
    ],
)
def test_channels_stay_whole_where_they_are_combined_or_the_step_is_unknown(step):
    assert groups_of(step) == {}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (layers.Conv2D(5, 2, name="step"), {"before": 6, "step": 5}),
        (layers.Conv2DTranspose(5, 2, name="step"), {"before": 6, "step": 5}),
        (layers.SeparableConv2D(5, 2, name="step"), {"before": 6, "step": 5}),
        (layers.Conv2D(5, 2, activation="softmax"), {"before": 6}),
        (lambda x: x + layers.Conv2D(6, 1)(x), {"before": 6}),
        (
            lambda x: layers.Concatenate()([x, layers.Conv2D(5, 1, name="b")(x)]),
            {"before": 6, "b": 5},
        ),
        (lambda x: x * layers.Conv2D(1, 1)(x), {"before": 6}),
    ],
)
def test_layers_make_new_channels(step, expected):
    assert groups_of(step) == expected


def test_an_embedding_makes_channels():
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layers.Embedding(9, 4, name="e"), layers.Dense(2)]
    )
    assert [(g.name, len(g)) for g in channel_groups(model).groups] == [("e", 4)]


def test_a_subclass_of_a_layer_has_no_rule():
    class Shifted(layers.Dense):
        pass

    assert find_rule(layers.Dense(1)) is not None
    assert find_rule(Shifted(1)) is None
