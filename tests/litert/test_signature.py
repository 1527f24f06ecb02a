"""Names, shapes and dtypes of a model's inputs and outputs."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.litert.signature import (
    by_name,
    identifier,
    infer_signature,
    output_names,
    random_arrays,
    unique,
)
from tests.export import models


def test_inputs_keep_their_names_and_order():
    signature = infer_signature(models.two_in_two_out())
    assert signature.names == ("b", "a")
    assert [tuple(spec.shape) for spec in signature.specs.values()] == [(None, 4), (None, 3)]
    assert signature.pack({"a": 1, "b": 2}) == [2, 1]
    assert infer_signature(models.cnn()).names == ("input_0",)
    assert infer_signature(models.dict_in_dict_out()).names == ("left", "right")


def test_a_subclassed_model_records_its_input():
    model = models.Subclassed()
    model(models.IMAGES)
    (spec,) = infer_signature(model).specs.values()
    assert (tuple(spec.shape), spec.dtype.name) == ((None, 8, 8, 1), "float32")


def test_a_subclassed_model_of_several_arguments_needs_a_signature():
    class TwoArguments(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def build(self, a_shape, b_shape):
            self.dense.build(a_shape)

        def call(self, a, b):
            return self.dense(a + b)

    model = TwoArguments()
    model(np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"called with one argument.*Pass `input_signature`"):
        infer_signature(model)


def test_outputs_are_named_by_key_by_layer_or_by_position():
    assert output_names(models.cnn(), np.ones(1)) == ("logits",)
    assert output_names(models.two_in_two_out(), [1, 2]) == ("z", "y")
    assert output_names(models.Subclassed(), [1, 2]) == ("output_0", "output_1")
    assert output_names(models.SubclassedDict(), {"b": 1, "a": 2}) == ("a", "b")


def test_leaves_without_a_key_take_names_in_order():
    assert by_name([1, 2], ("b", "a")) == {"b": 1, "a": 2}
    assert by_name({"x": 1, "y-z": 2}, ()) == {"x": 1, "y_z": 2}
    with pytest.raises(ValueError, match=r"Expected 2 arrays, for \['b', 'a'\]. Received: 1"):
        by_name(np.ones(3), ("b", "a"))


def test_names_become_identifiers_and_unique():
    assert [identifier(name) for name in ("a/b", "1x", "ok_2")] == ["a_b", "_1x", "ok_2"]
    assert unique(["a", "b", "a"]) == ["a", "b", "a_2"]


def test_random_batches_have_the_shapes_and_dtypes_of_the_inputs():
    (tokens,) = random_arrays({"x": ((None, 12), "int32")}, 3).values()
    assert (tokens.shape, tokens.dtype, tokens.min()) == ((3, 12), np.int32, 1)
    batch = infer_signature(models.cnn()).random_batch(2)
    assert (batch.shape, batch.dtype) == ((2, 8, 8, 1), np.float32)
    assert 0 <= batch.min() < batch.max() < 1
