"""What is worth pairing: places behind learned weights, and no outputs under another name."""

import keras
import pytest
from keras import layers

from keras_kd.models.graph import open_graph
from keras_kd.models.learned_places import LearnedPlaces, has_learned_weights
from keras_kd.models.tap_places import list_places


def learned(inputs, outputs):
    """The paths of the layers that are worth pairing."""
    graph = open_graph(keras.Model(inputs, outputs))
    places = LearnedPlaces(graph)
    return [path for path in graph.calls if any(one in places for one in list_places(graph, path))]


def test_augmentation_and_preprocessing_are_no_places():
    x = inputs = keras.Input((8, 8, 3))
    for layer in (layers.RandomFlip(name="flip"), layers.RandomZoom(0.1, name="zoom")):
        x = layer(x)
    x = layers.Normalization(mean=0.0, variance=1.0, name="scaled")(x)
    x = layers.AveragePooling2D(2, name="smaller")(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.RandomTranslation(0.1, 0.1, name="moved")(layers.ReLU(name="relu")(x))
    x = layers.Flatten(name="flat")(x)
    assert learned(inputs, layers.Dense(2, name="head")(x)) == ["conv", "relu"]


def test_lookups_are_no_places():
    text = keras.Input((1,), dtype="string")
    ids = layers.StringLookup(vocabulary=["a", "b"], name="lookup")(text)
    x = layers.Embedding(4, 3, name="embedding")(ids)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    assert learned(text, layers.Dense(2, name="head")(x)) == ["embedding", "pool"]
    number = keras.Input((1,))
    coded = layers.CategoryEncoding(4, name="coded")(
        layers.Discretization(bin_boundaries=[0.0, 1.0, 2.0], name="bins")(number)
    )
    assert learned(number, layers.Dense(2)(layers.Dense(3, name="hidden")(coded))) == ["hidden"]


@pytest.mark.parametrize(
    "tail",
    [
        [layers.Softmax()],
        [layers.Activation("softmax"), layers.Reshape((2, 1))],
        [layers.Dropout(0.5), layers.Activation("sigmoid")],
        [layers.Reshape((2,)), layers.Rescaling(0.1)],
        [layers.Lambda(keras.ops.softmax, output_shape=lambda shape: shape)],
        [layers.ReLU()],
    ],
)
def test_logits_before_a_last_layer_without_weights_are_outputs(tail):
    inputs = keras.Input((5,))
    x = layers.Dense(2, name="disguised")(layers.Dense(3, name="hidden")(inputs))
    for layer in tail:
        x = layer(x)
    assert learned(inputs, x) == ["hidden"]


def test_maps_of_classes_that_are_pooled_are_outputs():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="hidden")(inputs)
    x = layers.Conv2D(2, 1, name="classes")(x)
    outputs = layers.Softmax()(layers.GlobalAveragePooling2D(name="pool")(x))
    assert learned(inputs, outputs) == ["hidden"]


def test_the_members_of_an_averaged_ensemble_are_outputs():
    inputs = keras.Input((5,))
    one, two = (layers.Dense(2, name=name)(inputs) for name in ("one", "two"))
    hidden = layers.Dense(2, name="three")(layers.Dense(6, name="hidden")(inputs))
    members = [layers.Softmax()(x) for x in (one, two, hidden)]
    assert learned(inputs, layers.Average()(members)) == ["hidden"]


def test_a_shallow_output_of_several_is_an_output():
    inputs = keras.Input((5,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(inputs)
    early = layers.Dense(2, name="early")(hidden)
    late = layers.Dense(2, name="late")(layers.Dense(6, name="deep")(hidden))
    assert learned(inputs, [early, late]) == ["hidden", "deep"]


def test_the_features_of_a_model_without_a_head_are_places():
    x = inputs = keras.Input((8, 8, 3))
    for i in range(3):
        y = layers.Conv2D(3, 3, padding="same", name=f"conv{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(layers.Add(name=f"add{i}")([x, y]))
    found = learned(inputs, layers.GlobalAveragePooling2D(name="features")(x))
    assert found == [f"{kind}{i}" for i in range(3) for kind in ("conv", "add", "relu")]


def test_a_nested_model_is_no_place_beside_its_last_layer():
    x = keras.Input((5,))
    inner = keras.Model(x, layers.Dense(3, name="last")(x), name="inner")
    inputs = keras.Input((5,))
    assert learned(inputs, layers.Dense(2)(inner(inputs))) == ["inner/last"]


def test_a_branch_that_no_output_uses_is_no_place():
    x = keras.Input((5,))
    hidden = layers.Dense(3, name="hidden")(x)
    inner = keras.Model(x, [hidden, layers.Dense(4, name="pooled")(hidden)], name="inner")
    inputs = keras.Input((5,))
    assert learned(inputs, layers.Dense(2)(inner(inputs)[0])) == ["inner/hidden"]


def test_statistics_of_the_data_and_counters_are_not_learned():
    conv, norm = layers.Dense(2), layers.Normalization()
    for layer in (conv, norm):
        layer.build((None, 3))
    conv.trainable = False
    assert has_learned_weights(conv)
    assert not has_learned_weights(norm)
    assert not has_learned_weights(layers.ReLU())
    assert not has_learned_weights(keras.ops.relu)
