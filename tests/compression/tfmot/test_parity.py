"""The comparison of two models finds differences of outputs and of regularization losses."""

import dataclasses

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from keras_kd.compression.tfmot.convert import convert_student, open_student
from keras_kd.compression.tfmot.parity import check_parity, random_input
from tests.compression import models


def test_random_inputs_have_the_structure_and_types_of_the_model():
    inputs = {
        "image": keras.Input((4, 4, 3), name="image"),
        "tokens": keras.Input((None,), dtype="int32", name="tokens"),
        "mask": keras.Input((5,), dtype="bool", name="mask"),
    }
    embedded = layers.Embedding(7, 2)(inputs["tokens"])
    outputs = [layers.Flatten()(inputs["image"]), embedded, layers.Identity()(inputs["mask"])]
    x = random_input(open_student(keras.Model(inputs, outputs)), 3)
    assert {name: (v.shape, v.dtype.name) for name, v in x.items()} == {
        "image": ((3, 4, 4, 3), "float32"),
        "tokens": ((3, 16), "int32"),
        "mask": ((3, 5), "bool"),
    }
    assert x["tokens"].max() < 7


def convert(**kwargs):
    model = models.randomized(
        keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense", **kwargs)])
    )
    converted = convert_student(model, None)
    (call,) = converted.graph.calls["dense"]
    tensors = {id(call.outputs[0]): converted.model.output}
    return model, converted, tensors


def test_other_weights_are_rejected_with_the_first_layer():
    model, converted, tensors = convert()
    check_parity(model, converted, tensors)
    model.get_layer("dense").kernel.assign(model.get_layer("dense").kernel + 1)
    message = "does not compute the same as .* The first layer that differs is 'dense'"
    with pytest.raises(ValueError, match=message):
        check_parity(model, converted, tensors)


def test_other_regularization_losses_are_rejected():
    model, converted, tensors = convert(kernel_regularizer="l2")
    x = tf_keras.Input((4,))
    plain = tf_keras.layers.Dense(3)
    other = tf_keras.Model(x, plain(x))
    plain.set_weights(model.get_weights())
    with pytest.raises(ValueError, match=r"regularization losses of '.*' \(.*\) differ from"):
        check_parity(model, dataclasses.replace(converted, model=other), tensors)


def test_a_value_that_is_not_finite_in_one_model_only_is_rejected():
    model, converted, tensors = convert()
    kernel = model.get_layer("dense").kernel
    kernel.assign(np.where(np.arange(12).reshape(4, 3) == 0, np.inf, kernel))
    with pytest.raises(ValueError, match="differ by inf of the largest output"):
        check_parity(model, converted, tensors)
