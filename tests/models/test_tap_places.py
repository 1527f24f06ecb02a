"""Which tensor of which call the name of a tap stands for; the values are compared in NumPy."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import open_graph
from keras_kd.models.precision import cast_model
from keras_kd.models.tap_places import find_place, has_known_order, hook_at, list_places
from keras_kd.models.taps import Tap, TappedModel
from tests import toy

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 3, 5)).astype("float32")
STEPS = RNG.normal(size=(3, 4, 5)).astype("float32")


def siamese(name="siamese"):
    """A shared encoder on two inputs; the call that is made last runs first."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    shared = layers.Dense(4, activation="softmax", name="shared")
    left = shared(a)
    right = layers.Dense(4, name="more")(layers.ReLU()(shared(layers.Rescaling(2.0)(b))))
    return keras.Model([a, b], layers.Dense(3, name="head")(layers.Add()([right, left])), name=name)


def recurrent(name="recurrent"):
    keras.utils.set_random_seed(1)
    x = keras.Input((4, 5))
    steps, h, c = layers.LSTM(6, return_sequences=True, return_state=True, name="lstm")(x)
    mixed, scores = layers.MultiHeadAttention(2, 3, name="attention")(
        steps, steps, return_attention_scores=True
    )
    joined = layers.Concatenate()([layers.GlobalAveragePooling1D()(mixed), h, c])
    model = keras.Model(x, layers.Dense(3, name="head")(joined), name=name)
    return model, keras.Model(x, [steps, h, c, mixed, scores])


def values(model, names, x, logits=False):
    taps = [Tap(name, logits) for name in names]
    found = TappedModel(model, taps)(x)[1]
    return [np.asarray(found[tap]) for tap in taps]


def test_the_calls_of_a_shared_layer_are_numbered_as_they_run():
    model = siamese()
    shared = model.get_layer("shared")
    first, second = values(model, ["shared@0", "shared@1"], [A, B])
    np.testing.assert_allclose(first, shared(2 * B), rtol=1e-5)
    np.testing.assert_allclose(second, shared(A), rtol=1e-5)
    logits = values(model, ["shared@0"], [A, B], logits=True)[0]
    kernel, bias = map(np.asarray, shared.weights)
    np.testing.assert_allclose(logits, 2 * B @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_copies_and_files_have_the_same_taps(tmp_path):
    model = siamese()
    model.save(tmp_path / "model.keras")
    others = copy_model(model), cast_model(model, "float32"), keras.models.clone_model(model)
    others[2].set_weights(model.get_weights())
    for other in (*others, keras.models.load_model(tmp_path / "model.keras")):
        for found, expected in zip(
            *(values(one, ["shared@0", "shared@1"], [A, B]) for one in (other, model)), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_each_tensor_of_a_layer_is_a_tap():
    model, parts = recurrent()
    names = ["lstm:0", "lstm:1", "lstm:2", "attention:0", "attention:1"]
    for found, expected in zip(values(model, names, STEPS), parts(STEPS), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    listed = {tap.name: tap.shape for tap in kd.taps(model)}
    assert [listed[name] for name in names] == [
        (None, 4, 6),
        (None, 6),
        (None, 6),
        (None, 4, 6),
        (None, 2, 4, 4),
    ]


def test_a_call_and_a_tensor_are_named_together():
    lstm = layers.LSTM(2, return_state=True, name="lstm")
    x = keras.Input((4, 5))
    one, two = lstm(x), lstm(layers.Rescaling(3.0)(x))
    model = keras.Model(x, layers.Add()([*one, *two]), name="m")
    found = values(model, ["lstm@1:2", "lstm@0:1"], STEPS)
    np.testing.assert_allclose(found[0], lstm(3 * STEPS)[2], rtol=1e-5)
    np.testing.assert_allclose(found[1], lstm(STEPS)[1], rtol=1e-5)
    names = [place.name for place in list_places(open_graph(model), "lstm")]
    assert names == ["lstm@0:0", "lstm@0:1", "lstm@0:2", "lstm@1:0", "lstm@1:1", "lstm@1:2"]


def test_a_layer_inside_a_model_that_is_called_twice():
    inner = toy.mlp("inner")
    a, b = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([a, b], layers.Subtract()([inner(a), inner(b)]), name="m")
    first, second = values(model, ["inner/hidden@0", "inner/hidden@1"], [A, B])
    np.testing.assert_allclose(first, inner.get_layer("hidden")(A), rtol=1e-6)
    np.testing.assert_allclose(second, inner.get_layer("hidden")(B), rtol=1e-6)


def test_a_layer_that_is_part_of_two_models_is_captured_at_the_right_call():
    shared = layers.Dense(5, name="shared")
    x = keras.Input((5,))
    inner = keras.Model(x, layers.ReLU()(shared(x)), name="inner")
    y = keras.Input((5,))
    model = keras.Model(y, layers.ReLU()(shared(inner(y))), name="m")
    inside, outside = values(model, ["inner/shared", "shared"], A)
    np.testing.assert_allclose(inside, shared(A), rtol=1e-6)
    np.testing.assert_allclose(outside, shared(inner(A)), rtol=1e-6)


def test_every_listed_tap_can_be_used_and_trained_on():
    for model in (siamese(), recurrent()[0]):
        listed = kd.taps(model)
        tapped = TappedModel(model, [Tap(tap.name) for tap in listed])
        assert [tapped.shapes[Tap(tap.name)] for tap in listed] == [tap.shape for tap in listed]
    teacher, student = siamese("teacher"), siamese("student")
    student.set_weights([weight * 0.5 for weight in student.get_weights()])
    hint = kd.losses.Hint("shared@0", "shared@1")
    distiller = kd.Distiller(student, teacher, hint, student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    expected = np.mean(
        np.square(teacher.get_layer("shared")(2 * B) - student.get_layer("shared")(A))
    )
    history = distiller.fit([A, B], verbose=0).history
    np.testing.assert_allclose(history["hint"], [expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shared", r"returns 2 tensors \(it is called 2 times\).*stands for 2 of them.*'shared@1'"),
        ("shared@2", "'shared@2' stands for 0 of them.*Choose one of 'shared@0', 'shared@1'"),
        ("shared@0:1", "'shared@0:1' stands for 0 of them"),
        ("head:1", "'head:1' stands for 0 of them.*Choose one of 'head'"),
        ("other@1", "has no layer or output 'other@1'"),
        ("", "has no layer or output ''"),
    ],
)
def test_names_that_stand_for_no_tensor_or_several_are_rejected(name, message):
    with pytest.raises(ValueError, match=message):
        TappedModel(siamese(), [Tap(name)])


def test_a_layer_may_have_a_name_like_a_suffix():
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(2, name="b")(layers.Dense(3, name="a:1")(x)), name="m")
    assert find_place(model, open_graph(model), "a:1", {}).call.path == "a:1"
    np.testing.assert_allclose(values(model, ["a:1"], A)[0], model.get_layer("a:1")(A))


def test_the_calls_of_a_layer_in_the_code_of_a_model_cannot_be_told_apart():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__(name="twice")
            self.shared = layers.Dense(5, name="shared")
            self.head = layers.Dense(2, name="head")

        def call(self, x):
            return self.head(self.shared(self.shared(x)))

    model = Twice()
    model(A)
    graph = open_graph(model)
    assert [tap.name for tap in kd.taps(model)] == ["head"]
    assert not has_known_order(graph, graph.calls["shared"][0])
    with pytest.raises(ValueError, match=r"'shared' is called 2 times in a model with \['twice'\]"):
        hook_at(graph, graph.calls["shared"][0])
    with pytest.raises(ValueError, match="so the order in which its calls run is not known"):
        TappedModel(model, [Tap("shared@0")])
