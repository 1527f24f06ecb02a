"""Early exits: the default for each kind of tap, and the model that returns their logits."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.distillers.early_exits import ModelWithExits, build_exits, exit_name, split_exit
from keras_kd.models.taps import Tap
from tests import toy
from tests.distillers.models import tap


def pixels(classes=3):
    inputs = keras.Input((6, 6, 1))
    small = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="small")(inputs)
    outputs = layers.Conv2DTranspose(classes, 2, strides=2, name="map")(small)
    return keras.Model(inputs, outputs, name="pixels")


def steps(classes=3):
    inputs = keras.Input((7, 2))
    hidden = layers.Dense(5, name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(classes, name="labels")(hidden), name="steps")


def pooled():
    inputs = keras.Input((7, 2))
    hidden = layers.Conv1D(5, 3, name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling1D()(hidden)), name="pooled")


@pytest.mark.parametrize(
    ("student", "at", "kinds"),
    [
        (lambda: toy.mlp("student"), "hidden", [layers.Dense]),
        (
            lambda: toy.cnn("student"),
            "conv",
            [layers.Conv2D, layers.GlobalAveragePooling2D, layers.Dense],
        ),
        (pooled, "hidden", [layers.GlobalAveragePooling1D, layers.Dense]),
        (steps, "hidden", layers.Dense),
        (pixels, "small", [layers.Conv2D, layers.Resizing]),
    ],
)
def test_the_default_exit_maps_each_kind_of_tap_to_logits(student, at, kinds):
    student = student()
    (found,) = build_exits(student, [at], "auto").values()
    assert found.name == f"{at}_exit"
    assert found.built
    if isinstance(kinds, list):
        assert [type(layer) for layer in found.layers] == kinds
    else:
        assert type(found) is kinds
    shape = student.get_layer(at).output.shape
    assert found.compute_output_shape(shape) == tuple(student.output_shape)


def two_outputs():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, name="hidden")(inputs)
    heads = {name: layers.Dense(units, name=name)(hidden) for name, units in (("p", 3), ("q", 2))}
    return keras.Model(inputs, heads, name="two")


def test_each_of_several_outputs_has_an_exit_at_each_tap():
    student, (x, _) = two_outputs(), toy.vectors()
    given = {"hidden": {"p": layers.Dense(3), "q": layers.Dense(2)}}
    for exits in (["hidden"], given):
        found = build_exits(student, exits, "auto")
        assert set(found) == {"hidden.p", "hidden.q"}
        tapped = ModelWithExits(found, [], student, [Tap("hidden.p", True), Tap("q", True)])
        assert tapped.shapes[Tap("hidden.q", True)] == (None, 2)
        assert [tapped.output_of(n) for n in ("hidden.q", "p", "hidden", None)] == [
            *("q", "p"),
            *(None, None),
        ]
        hidden = tap(student, "hidden", x)
        expected = found["hidden.p"](hidden)
        np.testing.assert_allclose(tapped(x)[1][Tap("hidden.p", True)], expected, rtol=1e-6)
    assert build_exits(student, given, "auto")["hidden.p"] is given["hidden"]["p"]
    for wrong in (layers.Dense(3), {"p": layers.Dense(3)}):
        with pytest.raises(ValueError, match=r"must be a dict with a layer for each. Received"):
            build_exits(student, {"hidden": wrong}, "auto")


def test_the_name_of_an_exit_tells_its_tap_and_its_output():
    for tap_name, output in (("a/b", "p"), ("a.p", "q.r"), ("a", "r")):
        outputs = ["p", "q.r", "r"]
        assert split_exit(exit_name(tap_name, output, outputs), outputs) == (tap_name, output)
    assert split_exit(exit_name("a.p", "p", ["p"]), ["p"]) == ("a.p", "p")


def test_a_given_exit_is_used_and_built():
    exits = {"hidden": layers.Dense(4), "head": None}
    found = build_exits(toy.mlp("student"), exits, "auto")
    assert found["hidden"] is exits["hidden"]
    assert found["hidden"].kernel.shape == (8, 4)
    assert list(found) == ["hidden", "head"]


def test_the_model_returns_the_logits_of_the_exits_and_runs_once():
    (x, _), (student, counter) = toy.vectors(), toy.counted(toy.mlp("student"))
    names = ["student/hidden", "student/head"]
    exits = build_exits(student, names, "auto")
    tapped = ModelWithExits(exits, [Tap(None, True)], student, [Tap(names[0], True)])
    before = int(counter.count)
    outputs, found = tapped(x)
    assert int(counter.count) == before + 1
    np.testing.assert_array_equal(outputs, student(x))
    np.testing.assert_array_equal(found[Tap(None, True)], outputs)
    inner = student.get_layer("student")
    for name in names:
        values = tap(inner, name.split("/")[1], x)
        np.testing.assert_array_equal(found[Tap(name)], values)
        np.testing.assert_allclose(found[Tap(name, True)], exits[name](values), rtol=1e-6)
        assert tapped.shapes[Tap(name, True)] == (None, 4)


@pytest.mark.parametrize(
    ("exits", "error", "sentence"),
    [
        ([], ValueError, "`exits` must be a list of hidden taps"),
        ("conv", ValueError, "`exits` must be a list of hidden taps"),
        (["convv"], ValueError, "no layer or output 'convv'.*'conv'"),
        ({"conv": "dense"}, TypeError, "the exit at 'conv' must be a Keras layer"),
        ({"conv": layers.Dense(4)}, ValueError, "tap 'conv'"),
        ({"features": layers.Dense(5)}, ValueError, r"\(None, 4\).*\(None, 5\)"),
    ],
)
def test_exits_that_do_not_match_are_rejected(exits, error, sentence):
    with pytest.raises(error, match=sentence):
        kd.DeepSupervision(toy.cnn("student"), exits)


def test_a_tap_without_a_default_exit_is_named():
    with pytest.raises(ValueError, match="no default exit from the tap 'small' .* Pass a layer"):
        build_exits(keras.Model((i := keras.Input((None, None, 1))), flat(i)), ["small"], "auto")


def flat(inputs):
    small = layers.Conv2D(4, 3, name="small")(inputs)
    return layers.Conv2DTranspose(3, 3, name="map")(small)


def test_an_exit_at_one_tensor_of_a_layer(tmp_path):
    x = keras.Input((4, 5))
    sequence, state = layers.SimpleRNN(6, return_sequences=True, return_state=True, name="rnn")(x)
    joined = layers.Concatenate()([layers.GlobalMaxPooling1D()(sequence), state])
    student = keras.Model(x, layers.Dense(3, name="head")(joined), name="student")
    model = kd.DeepSupervision(student, ["rnn:1"])
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), run_eagerly=True)
    data = np.random.default_rng(0).normal(size=(4, 4, 5)).astype("float32"), np.arange(4) % 3
    assert "rnn_1_soft_targets" in model.fit(*data, verbose=0).history
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
