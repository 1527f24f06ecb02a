import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.models.taps import Tap, TappedModel
from tests import toy


def _network(name, blocks, filters, size=16):
    x = inputs = keras.Input((size, size, 3))
    for i in range(len(filters)):
        for j in range(blocks):
            x = layers.Conv2D(filters[i], 3, padding="same", name=f"conv{i}_{j}")(x)
            x = layers.ReLU(name=f"relu{i}_{j}")(x)
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name=name)


def _transformer(name, depth, width, time=12):
    x = inputs = keras.Input((time, width))
    for i in range(depth):
        x = layers.Add(name=f"block{i}")([x, layers.Dense(width, name=f"dense{i}")(x)])
    return keras.Model(inputs, layers.GlobalAveragePooling1D(name="out")(x), name=name)


def test_taps_are_listed_with_shape_and_depth_in_order():
    found = kd.taps(toy.cnn("model", filters=5))
    assert [tap.name for tap in found] == [
        "conv",
        "norm",
        "relu",
        "pool",
        "features",
        "dropout",
        "logits",
    ]
    assert found[2].shape == (None, 4, 4, 5)
    assert [tap.depth for tap in found] == list(range(1, 8))
    assert found[-1].relative_depth == 1.0


def test_every_listed_tap_can_be_used():
    inner = toy.cnn("inner")
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(3, name="head")(inner(inputs)), name="outer")
    found = kd.taps(model)
    assert "inner/relu" in [tap.name for tap in found]
    for tap in found:
        assert TappedModel(model, [Tap(tap.name)]).shapes[Tap(tap.name)] == tap.shape


def test_each_call_of_a_layer_is_listed():
    inputs = keras.Input((4,))
    twice = layers.Dense(4, name="twice")
    model = keras.Model(inputs, layers.Dense(2, name="head")(twice(twice(inputs))))
    found = [(tap.name, tap.depth) for tap in kd.taps(model)]
    assert found == [("twice@0", 1), ("twice@1", 2), ("head", 3)]


def test_a_layer_that_another_layer_calls_again_is_not_listed():
    class Head(layers.Layer):
        def __init__(self, shared, **kwargs):
            super().__init__(**kwargs)
            self.shared = shared

        def call(self, x):
            return self.shared(x)

    inputs, shared = keras.Input((4,)), layers.Dense(4, name="shared")
    hidden = layers.Dense(4, name="hidden")(shared(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="out")(Head(shared, name="head")(hidden)))
    assert [tap.name for tap in kd.taps(model)] == ["hidden", "head", "out"]
    assert kd.pair_taps(model, model) == [("hidden", "hidden"), ("head", "head")]


def test_the_list_prints_as_a_table():
    lines = str(kd.taps(toy.cnn("model"))).splitlines()
    assert lines[0].split() == ["tap", "layer", "shape", "depth"]
    assert lines[2].split(maxsplit=2)[:2] == ["conv", "Conv2D"]
    assert lines[-1].endswith("(None, 4)        7 (100%)")


def test_stages_with_the_same_resolution_are_paired_at_their_ends():
    teacher = _network("teacher", 3, (8, 16, 32))
    student = _network("student", 1, (4, 8, 16))
    assert kd.pair_taps(teacher, student, n=5) == [
        ("relu0_2", "relu0_0"),
        ("relu1_2", "relu1_0"),
        ("relu2_2", "relu2_0"),
        ("pool2", "pool2"),
        ("features", "features"),
    ]
    assert kd.pair_taps(teacher, student, n=1) == [("features", "features")]


def test_other_resolutions_are_paired_with_the_nearest():
    teacher = _network("teacher", 2, (8, 16, 32), size=32)
    student = _network("student", 1, (4, 8), size=16)
    pairs = dict(kd.pair_taps(teacher, student, n=4))
    assert pairs["relu1_1"] == "relu0_0"
    assert pairs["relu2_1"] == "relu1_0"


def test_models_with_one_resolution_are_paired_by_relative_depth():
    teacher, student = _transformer("teacher", 12, 32), _transformer("student", 4, 8)
    pairs = kd.pair_taps(teacher, student, n=2)
    assert pairs == [("block5", "block1"), ("block11", "block3")]


def test_the_pairs_fit_a_hint():
    teacher = _network("teacher", 2, (8, 16), size=16)
    student = _network("student", 1, (4, 8), size=16)
    model = kd.Distiller(student, teacher, kd.losses.Hint(taps=kd.pair_taps(teacher, student)))
    assert len(model.projectors["hint"].projectors) == 3


def test_augmentation_lookups_and_disguised_logits_are_not_paired():
    def augmented(name, blocks):
        x = inputs = keras.Input((16, 16, 3))
        x = layers.RandomZoom(0.1)(layers.Rescaling(2.0)(layers.RandomFlip()(x)))
        for i in range(blocks):
            x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = layers.Dense(5, name="logits")(layers.GlobalAveragePooling2D(name="features")(x))
        return keras.Model(inputs, layers.Softmax()(x), name=name)

    pairs = kd.pair_taps(augmented("teacher", 4), augmented("student", 2), n=9)
    assert pairs == [("conv3", "conv1"), ("features", "features")]


def test_models_without_a_common_rank_are_rejected():
    with pytest.raises(ValueError, match="no hidden tap of 'teacher' has the rank"):
        kd.pair_taps(_transformer("teacher", 2, 8), toy.mlp("student"))


def test_n_must_be_at_least_one():
    with pytest.raises(ValueError, match="`n` must be at least 1. Received: n=0"):
        kd.pair_taps(toy.cnn("teacher"), toy.cnn("student"), n=0)


def test_anything_but_a_model_is_rejected():
    with pytest.raises(TypeError, match="The model must be a keras.Model"):
        kd.taps("model")
