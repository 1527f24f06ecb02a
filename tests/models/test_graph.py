import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.models.graph import (
    OpaqueModelError,
    built_inputs,
    first_line,
    input_shapes,
    is_graph,
    open_graph,
    require_built,
    with_activation,
)
from keras_kd.models.keras_compat import get_mask
from tests import toy


class Block(layers.Layer):
    def __init__(self):
        super().__init__(name="block")
        self.dense = layers.Dense(3, name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


class Subclassed(keras.Model):
    def __init__(self, function=keras.ops.relu):
        super().__init__(name="subclassed")
        self.dense = layers.Dense(3, name="dense")
        self.function = function

    def call(self, x):
        return self.function(self.dense(x))


def test_nested_models_are_expanded_and_calls_have_paths():
    inner = toy.mlp("inner")
    inputs = keras.Input((5,))
    graph = open_graph(keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs))))
    assert [path for path in graph.calls if "/" in path] == ["inner/hidden", "inner/head"]
    assert graph.calls["inner/hidden"][0].layer is inner.get_layer("hidden")
    head = graph.maker(keras.tree.flatten(graph.outputs)[0])
    assert head.path == "head"
    assert graph.maker(head.inputs[0]).path == "inner/head"
    assert graph.maker(keras.tree.flatten(graph.inputs)[0]) is None
    assert not graph.traced


@pytest.mark.parametrize("explicit", [False, True])
def test_a_nested_model_with_a_mask_is_opened(explicit):
    inner_inputs = [keras.Input((4, 3)), keras.Input((4, 3))]
    x = layers.Add(name="sum")(inner_inputs)
    inner = keras.Model(inner_inputs, layers.LSTM(2, name="lstm")(x), name="inner")
    ids = keras.Input((4,), dtype="int32")
    embedded = layers.Embedding(5, 3, mask_zero=not explicit, name="embedding")(ids)
    given = {"mask": [keras.ops.not_equal(ids, 0)] * 2} if explicit else {}
    outputs = layers.Dense(2)(inner([embedded, layers.Rescaling(2.0)(embedded)], **given))
    graph = open_graph(keras.Model(ids, outputs))
    assert {"inner/sum", "inner/lstm"} <= set(graph.calls)
    (summed,) = graph.calls["inner/sum"][0].outputs
    assert get_mask(summed) is not None
    (source,) = graph.calls["embedding"][0].outputs
    assert (get_mask(source) is None) == explicit  # The mask is one of the nested call.


def test_a_custom_layer_is_traced_only_for_a_tap_inside_it():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, Block()(inputs), name="model")
    assert open_graph(model).traced == []
    graph = open_graph(model, inside=["block/dense"])
    assert graph.traced == ["block"]
    assert "block/dense" in graph.calls
    with pytest.raises(ValueError, match=r"Part of 'model' cannot be extracted: \['block'\]"):
        graph.require_runnable(model)


def test_a_call_on_tensorflow_operations_cannot_be_read():
    model = Subclassed(tf.nn.relu)
    model(np.ones((1, 5), "float32"))
    with pytest.raises(OpaqueModelError, match=r"'subclassed' \(Subclassed\) cannot be inspected"):
        open_graph(model)


def test_inputs_of_a_built_model_have_an_unknown_batch_size():
    a, b = (keras.Input((size,), batch_size=4, name=name) for size, name in ((3, "a"), (2, "b")))
    model = keras.Model({"a": a, "b": b}, layers.Concatenate()([a, b]))
    assert {name: x.shape for name, x in built_inputs(model).items()} == {
        "a": (None, 3),
        "b": (None, 2),
    }
    assert input_shapes(model) == [(None, 3), (None, 2)]
    subclassed = Subclassed()
    assert input_shapes(subclassed) is None
    subclassed(np.ones((1, 5), "float32"))
    assert input_shapes(subclassed) == [(None, 5)]


def test_only_functional_and_built_sequential_models_are_graphs():
    assert is_graph(toy.cnn("functional"))
    assert is_graph(toy.mlp("sequential"))
    assert not is_graph(keras.Sequential([layers.Dense(2)]))
    assert not is_graph(Subclassed())


def test_a_model_must_be_built():
    require_built(toy.mlp("model"), "The model")
    with pytest.raises(TypeError, match="The student must be a keras.Model.*Received: 3"):
        require_built(3, "The student")
    with pytest.raises(ValueError, match="The student 'subclassed' is not built"):
        require_built(Subclassed(), "The student")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("a/model.keras", "Load the file first: keras.models.load_model('a/model.keras')"),
        (Path("model.tflite"), "can be a teacher: kd.Teacher.from_tflite('model.tflite')"),
        (3, "Received: 3 (of type int)"),
    ],
)
def test_the_path_of_a_file_is_not_a_model(path, hint):
    with pytest.raises(TypeError, match=f"The model must be a keras.Model .*{re.escape(hint)}$"):
        require_built(path, "The model")


def test_the_activation_of_a_time_distributed_layer_is_in_the_wrapped_layer():
    dense = layers.Dense(3)
    assert with_activation(layers.TimeDistributed(dense)) is dense
    assert with_activation(dense) is dense


def test_an_error_without_a_message_is_described_by_its_class():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
