"""Rewrites of layers: activations are split off or fused where the result is the same."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.compression.tfmot.convert import open_student
from keras_kd.compression.tfmot.rewrites import (
    PROBABILITIES,
    Replacements,
    copy_with,
    exclusive_maker,
    fuse_relu,
    is_relu,
    split_activations,
)
from tests.compression import models


def test_replacements_collect_layers_and_notes():
    replacements = Replacements()
    assert replacements.chain("a", "layer") == ["layer"]
    replacements.replace("a", ["x", "y"], "split")
    replacements.replace("a", ["z"], "fused")
    assert replacements.chain("a", "layer") == ["z"]
    assert replacements.notes == {"a": "split, fused"}


def test_a_copy_has_the_weights_and_the_other_arguments():
    layer = layers.Dense(3, activation="relu", name="dense")
    layer.build((None, 4))
    copy = copy_with(layer, activation="tanh")
    assert copy.activation is keras.activations.tanh
    assert copy.name == "dense"
    np.testing.assert_array_equal(copy.kernel, layer.kernel)


def dense(activation):
    return models.of(layers.Dense(3, activation=activation, name="dense"), (4,))


@pytest.mark.parametrize(
    ("activation", "also", "expected"),
    [
        ("tanh", (), []),
        ("celu", (), ["dense", "dense_celu"]),
        ("softmax", (), []),
        ("softmax", PROBABILITIES, ["dense", "dense_softmax"]),
    ],
)
def test_unsupported_and_requested_activations_become_layers(activation, also, expected):
    replacements = Replacements()
    model = dense(activation)
    split_activations(open_student(model), replacements, also)
    chain = replacements.by_path.get("dense", [])
    assert [layer.name for layer in chain] == expected
    if chain:
        x = value = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
        for layer in chain:
            value = layer(value)
        np.testing.assert_array_equal(value, model(x))
        assert replacements.notes["dense"] == f"{activation} as a separate layer"


@pytest.mark.parametrize(
    ("layer", "limit", "expected"),
    [
        (layers.ReLU(), None, True),
        (layers.ReLU(6.0), None, False),
        (layers.ReLU(6.0), 6.0, True),
        (layers.ReLU(negative_slope=0.1), None, False),
        (layers.Activation("relu"), None, True),
        (layers.Activation("relu6"), 6.0, True),
        (layers.Activation("tanh"), None, False),
        (layers.Dense(3, activation="relu"), None, False),
    ],
)
def test_plain_relus_are_recognized(layer, limit, expected):
    assert is_relu(layer, limit) is expected


@pytest.mark.parametrize("relu", [layers.ReLU(name="act"), layers.Activation("relu"), ops.relu])
def test_every_form_of_a_relu_is_fused(relu):
    replacements = Replacements()
    graph = open_student(models.conv_norm_relu(norm=False, relu=relu))
    fuse_relu(graph, replacements)
    (conv,) = replacements.chain("conv", None)
    assert conv.activation is keras.activations.relu
    removed = next(path for path, chain in replacements.by_path.items() if not chain)
    assert replacements.notes["conv"] == f"'{removed}' fused into it"
    assert replacements.notes[removed] == "fused into 'conv'"


def branching(second):
    x = keras.Input((6,))
    before = layers.Dense(3, name="before")(x)
    after = layers.ReLU(name="act")(before)
    return keras.Model(x, second(before, after))


@pytest.mark.parametrize(
    ("second", "keep"),
    [
        (lambda before, after: layers.Add()([after, before]), ()),
        (lambda before, after: [before, after], ()),
        (lambda before, after: after, ("before",)),
    ],
)
def test_a_relu_is_not_fused_if_its_input_is_used_elsewhere(second, keep):
    graph, replacements = open_student(branching(second)), Replacements()
    fuse_relu(graph, replacements, keep)
    assert replacements.by_path == {}
    assert exclusive_maker(graph, replacements, graph.calls["act"], keep) is None


def test_fused_layers_are_skipped_in_the_search_for_the_maker():
    x = keras.Input((6,))
    before = layers.Dense(3, name="before")(x)
    after = layers.ReLU(name="act")(layers.Dropout(0.5, name="between")(before))
    graph, replacements = open_student(keras.Model(x, after)), Replacements()
    replacements.replace("between", [], "")
    assert exclusive_maker(graph, replacements, graph.calls["act"]).path == "before"
