"""A model takes its own part of a dict batch, by key."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.utils import traceback_utils

from keras_kd.models.inputs import (
    ModelInputs,
    call_model,
    matched_by_key,
    merge_inputs,
    model_inputs,
    predict_batch,
    select_inputs,
)
from tests import toy

X, _ = toy.pairs(8)


class Reader(keras.Model):
    """A subclassed model that reads one key."""

    def __init__(self, key="image", name="reader"):
        super().__init__(name=name)
        self.dense = layers.Dense(3)
        self.key = key

    def call(self, inputs):
        return self.dense(inputs[self.key])


def reader(**arguments):
    model = Reader(**arguments)
    model({"audio": X["audio"], "image": X["image"]})
    return model


@pytest.mark.parametrize("form", [dict, list, None])
def test_a_model_takes_its_own_entries(form):
    chosen = select_inputs(toy.named("m", form=form), X)
    assert keras.tree.flatten(chosen)[0] is X["image"]
    assert type(chosen) is {dict: dict, list: list, None: np.ndarray}[form]


def test_entries_come_in_the_order_of_the_inputs():
    model = toy.named("m", ("image", "audio"), form=list)
    first, second = select_inputs(model, X)
    assert first is X["image"]
    assert second is X["audio"]


def test_only_dicts_are_matched():
    model = toy.named("m", ("image", "audio"))
    for x in (X["image"], [X["image"], X["audio"]]):
        assert select_inputs(model, x) is x


def test_a_missing_key_is_rejected_by_name():
    model = toy.named("m", ("image", "depth"))
    sentence = (
        r"'m' takes the inputs \['image', 'depth'\] and needs \['depth'\]. "
        r"Received: a batch with the keys \['audio', 'image'\]"
    )
    with pytest.raises(ValueError, match=sentence):
        select_inputs(model, X)


@pytest.mark.parametrize("keys", [("image",), ("image", "audio")])
def test_inputs_without_names_cannot_take_a_dict(keys):
    inputs = [keras.Input((5,)) for _ in keys]
    joined = layers.Concatenate()(inputs) if len(keys) > 1 else inputs[0]
    model = keras.Model(inputs, layers.Dense(2)(joined), name="m")
    with pytest.raises(ValueError, match=r"'m' has inputs without names.*\['audio', 'image'\]"):
        select_inputs(model, X)
    with pytest.raises(ValueError, match="'mlp' has inputs without names"):
        select_inputs(toy.mlp("mlp"), X)


def test_nested_dicts_are_matched_at_every_level():
    inputs = {"scene": {"image": keras.Input((5,)), "depth": keras.Input((5,))}}
    model = keras.Model(inputs, layers.Add()(list(inputs["scene"].values())), name="m")
    names = ["scene/depth", "scene/image"]
    assert model_inputs(model).named_shapes == dict.fromkeys(names, (None, 5))
    merged = merge_inputs([model, toy.named("other")])
    assert set(merged) == {"scene", "image"}
    assert merged["scene"]["depth"].shape == (None, 5)
    x = {"label": 0, "scene": {"depth": 1, "image": 2, "audio": 3}}
    assert select_inputs(model, x) == {"scene": {"image": 2, "depth": 1}}
    with pytest.raises(ValueError, match=r"needs \['depth'\].*\['image'\]"):
        select_inputs(model, {"scene": {"image": 1}})


def test_a_subclassed_model_gets_the_dict_itself():
    model = reader()
    assert select_inputs(model, X) is X
    assert model_inputs(model).named_shapes == {"audio": (None, 5), "image": (None, 5)}
    assert model_inputs(Reader()) is None
    np.testing.assert_allclose(call_model(model, X), model.dense(X["image"]), rtol=1e-6)


@pytest.mark.parametrize("filtered", [True, False])
def test_a_key_that_a_subclassed_model_reads_is_named(monkeypatch, filtered):
    model = reader()
    monkeypatch.setattr(traceback_utils, "is_traceback_filtering_enabled", lambda: filtered)
    with pytest.raises(ValueError, match=r"'reader' needs \['image'\].* \['audio'\]"):
        call_model(model, {"audio": X["audio"]})


def test_other_key_errors_are_raised():
    model = reader()
    model.key = None
    with pytest.raises(KeyError):
        call_model(model, X)


def test_a_functional_model_with_its_own_call_declares_its_inputs():
    class Halved(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs, training, mask) / 2

    given = {"image": keras.Input((5,), name="image")}
    model = Halved(given, layers.Dense(2)(given["image"]))
    right = model({"image": X["image"]})
    np.testing.assert_allclose(call_model(model, X), right, rtol=1e-6)


def test_a_sequential_that_begins_with_a_model_of_several_inputs():
    body = toy.named("body", ("image", "depth"))
    model = keras.Sequential([body, layers.Dense(2)], name="m")
    x = {"image": X["image"], "depth": X["audio"]}
    right = model(x)
    np.testing.assert_allclose(call_model(model, {**X, **x}), right, rtol=1e-6)
    assert model_inputs(model).shapes == [(None, 5), (None, 5)]
    with pytest.raises(ValueError, match=r"needs \['depth'\]"):
        call_model(model, X)


def test_parts_come_in_the_order_of_the_shapes():
    inputs = model_inputs(toy.named("m", ("image", "audio")))
    specs = {key: tf.TensorSpec((None, 5)) for key in ("image", "audio", "more")}
    assert inputs.parts(specs, "m") == [specs["audio"], specs["image"]]
    assert inputs.parts([1, 2], "m") == [1, 2]
    optional = ModelInputs(inputs.structure, declared=False)
    assert optional.parts(specs, "m") == [specs["audio"], specs["image"]]
    assert optional.parts({"image": specs["image"]}, "m") is None


def test_models_are_matched_by_key_if_one_takes_a_dict_or_they_share_a_name():
    single, other = toy.named("a", ("image",), form=None), toy.named("b", ("audio",), form=None)
    both = toy.named("c", ("image", "audio"), form=list)
    for models, expected in [
        ([single, other], False),
        ([single, both], True),
        ([toy.named("d"), other], True),
        ([toy.named("d"), toy.mlp("e")], False),
    ]:
        assert matched_by_key([model_inputs(model) for model in models]) is expected


def test_inputs_of_several_models_are_merged():
    image, both = toy.named("a", form=None), toy.named("b", ("audio", "image"))
    merged = merge_inputs([image, both])
    assert {key: part.shape for key, part in merged.items()} == {
        "image": (None, 5),
        "audio": (None, 5),
    }
    assert merge_inputs([image, image]).shape == (None, 5)
    assert merge_inputs([toy.mlp("c"), toy.mlp("d")]).shape == (None, 5)


def test_a_batch_is_predicted_without_the_methods_of_the_class():
    class Task(keras.Model):
        """Preprocesses in `predict_on_batch`, as a KerasHub task does."""

        def predict_on_batch(self, x):
            return super().predict_on_batch(x * 0)

    inputs = keras.Input((5,), name="image")
    model = Task(inputs, layers.Dense(2)(inputs))
    x = X["image"]
    np.testing.assert_allclose(predict_batch(model, x), model(x), rtol=1e-6)
    found = predict_batch(model, X)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, model(x), rtol=1e-6)
