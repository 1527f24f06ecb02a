"""Tensors are rounded where LiteRT's converter rounds them."""

import keras
from keras import layers, ops

from keras_kd.compression.qat.placement import place_ranges
from keras_kd.models.graph import open_graph
from tests.compression.qat.students import stack


def place(*steps, floats=(), **kwargs):
    """Return the placement, and the layer whose range each layer's output has."""
    graph = open_graph(stack(*steps, **kwargs))
    placement = place_ranges(graph, floats)
    found = {"x": placement.range_of(graph.inputs)}
    for name, (call,) in graph.calls.items():
        found[name] = placement.range_of(call.outputs[0])
    makers = {k: None if t is None else graph.maker(t) for k, t in found.items()}
    return placement, {
        name: None if tensor is None else (makers[name].path if makers[name] else "x")
        for name, tensor in found.items()
    }


def test_a_relu_is_rounded_and_not_the_convolution_before_it():
    _, ranges = place(layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu"))
    assert ranges == {"x": "x", "conv": None, "relu": "relu"}


def test_a_folded_normalization_between_them_changes_nothing():
    _, ranges = place(
        layers.Conv2D(4, 3, name="conv"), layers.Identity(name="norm"), layers.ReLU(name="relu")
    )
    assert ranges == {"x": "x", "conv": None, "norm": None, "relu": "relu"}


def test_a_convolution_with_other_users_is_rounded():
    def both(x):
        x = layers.Conv2D(4, 3, name="conv")(x)
        return layers.Add(name="add")([x, layers.ReLU(name="relu")(x)])

    _, ranges = place(both)
    assert ranges == {"x": "x", "conv": "conv", "relu": "relu", "add": "add"}


def test_a_concatenation_shares_a_range_with_its_inputs():
    def join(x):
        y = layers.Conv2D(3, 1, name="conv")(x)
        y = layers.MaxPooling2D(1, name="pool")(y)
        return layers.Concatenate(name="join")([y, x])

    _, ranges = place(join)
    assert ranges["conv"] == ranges["x"]
    assert ranges["join"] is ranges["pool"] is None  # They have the values of their inputs.


def test_an_average_pooling_has_the_range_of_its_input():
    _, ranges = place(layers.Conv2D(3, 1, name="conv"), layers.AveragePooling2D(2, name="pool"))
    assert ranges["pool"] == ranges["conv"] == "conv"


def test_a_sigmoid_cannot_share_its_range():
    def join(x):
        return layers.Concatenate(name="join")([x, layers.Activation("sigmoid", name="gate")(x)])

    placement, ranges = place(join)
    (call,) = placement.graph.calls["join"]
    assert placement.kinds[id(call)] == "float"
    assert ranges["join"] is None


def test_preprocessing_stays_in_front():
    _, ranges = place(layers.Rescaling(0.5, name="scale"), layers.Conv2D(3, 1, name="conv"))
    assert ranges == {"x": None, "scale": "scale", "conv": "conv"}


def test_a_softmax_at_the_end_is_rounded_by_the_file_only():
    _, ranges = place(layers.Flatten(name="flat"), layers.Dense(3, name="d"), layers.Softmax())
    assert ranges["softmax"] is None if "softmax" in ranges else True
    assert ranges["d"] == "d"


def test_what_follows_a_float_layer_is_rounded_again():
    _, ranges = place(
        layers.Conv2D(3, 1, name="conv"),
        layers.LayerNormalization(name="norm"),
        layers.Activation("elu", name="elu"),
        layers.Dense(3, name="dense"),
    )
    assert ranges == {"x": "x", "conv": "conv", "norm": None, "elu": "elu", "dense": "dense"}


def test_layers_are_left_in_float_on_request():
    placement, ranges = place(layers.Conv2D(3, 1, name="conv"), floats=["conv"])
    assert ranges == {"x": None, "conv": None}
    assert keras.tree.flatten(placement.ranges) == []


def test_the_products_and_the_softmax_of_attention_stay_in_float():
    def products(x):
        scores = layers.Softmax(name="softmax")(ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))))
        return layers.Dense(3, name="dense")(ops.matmul(scores, x))

    _, ranges = place(products)
    products = [name for name in ranges if name.startswith("matmul")]
    assert ranges["softmax"] is None
    assert [ranges[name] for name in products] == [None, products[1]]
