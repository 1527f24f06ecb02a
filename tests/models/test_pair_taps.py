import keras
import pytest
from keras import layers

import keras_kd as kd
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
    places = kd.taps(toy.cnn("model", filters=5))
    assert [place.name for place in places] == [
        "conv",
        "norm",
        "relu",
        "pool",
        "features",
        "dropout",
        "logits",
    ]
    assert places[2].shape == (None, 4, 4, 5)
    assert [place.depth for place in places] == list(range(1, 8))
    assert places[-1].relative_depth == 1.0


def test_every_tap_that_is_listed_can_be_tapped():
    inner = toy.cnn("inner")
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(3, name="head")(inner(inputs)), name="outer")
    places = kd.taps(model)
    assert "inner/relu" in [place.name for place in places]
    for place in places:
        kd.Distiller(model, model, kd.losses.Hint(place.name, place.name))


def test_a_layer_that_is_called_twice_is_no_place():
    inputs = keras.Input((4,))
    twice = layers.Dense(4, name="twice")
    model = keras.Model(inputs, layers.Dense(2, name="head")(twice(twice(inputs))))
    assert [place.name for place in kd.taps(model)] == ["head"]


def test_the_list_prints_as_a_table():
    lines = str(kd.taps(toy.cnn("model"))).splitlines()
    assert lines[0].split() == ["tap", "layer", "shape", "depth"]
    assert lines[2].split(maxsplit=2)[:2] == ["conv", "Conv2D"]
    assert lines[-1].endswith("(None, 4)        7 (100%)")


def test_stages_of_the_same_resolution_are_paired_at_their_ends():
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


def test_other_sizes_are_paired_with_the_nearest_resolution():
    teacher = _network("teacher", 2, (8, 16, 32), size=32)
    student = _network("student", 1, (4, 8), size=16)
    pairs = dict(kd.pair_taps(teacher, student, n=4))
    assert pairs["relu1_1"] == "relu0_0"
    assert pairs["relu2_1"] == "relu1_0"


def test_models_of_one_resolution_are_paired_at_the_same_relative_depth():
    teacher, student = _transformer("teacher", 12, 32), _transformer("student", 4, 8)
    pairs = kd.pair_taps(teacher, student, n=2)
    assert pairs == [("block5", "block1"), ("block11", "block3")]


def test_the_pairs_fit_a_hint():
    teacher = _network("teacher", 2, (8, 16), size=16)
    student = _network("student", 1, (4, 8), size=16)
    model = kd.Distiller(student, teacher, kd.losses.Hint(taps=kd.pair_taps(teacher, student)))
    assert len(model.projectors["hint"].projectors) == 3


def test_models_without_a_common_rank_are_refused():
    with pytest.raises(ValueError, match="no hidden tap of 'teacher' has the rank"):
        kd.pair_taps(_transformer("teacher", 2, 8), toy.mlp("student"))


def test_less_than_one_pair_is_refused():
    with pytest.raises(ValueError, match="`n` must be at least 1. Received: n=0"):
        kd.pair_taps(toy.cnn("teacher"), toy.cnn("student"), n=0)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="The model must be a keras.Model"):
        kd.taps("model")
