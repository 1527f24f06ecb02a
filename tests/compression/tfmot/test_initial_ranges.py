"""The ranges of quantized layers start from the outputs of the float student."""

import re

import numpy as np
from keras import layers

import keras_kd as kd
from keras_kd.compression.tfmot.quantize_aware import prepare_student
from tests.compression import models


def prepare_dense(units):
    student = models.of(layers.Dense(units, name="dense"), (1,))
    data = (np.ones((1, 1)), np.ones((1, units)))
    return student, kd.compression.Training(data=data, epochs=1, loss="mse")


def test_ranges_cover_all_batches():
    student, plan = prepare_dense(2)
    student.get_layer("dense").set_weights([np.array([[1.0, 2.0]]), np.array([1.0, 1.0])])
    prepared = prepare_student(student, plan)
    prepared.set_initial_ranges([np.float32([[1.0], [2.0]]), np.float32([[-5.0]])])
    ranges = {
        re.sub(r"quantize_layer\w*/quantize_layer\w*_(min|max):0", r"input_\1", variable.name)
        .removesuffix(":0")
        .split("/")[-1]: float(variable)
        for layer in prepared.quantized.model.layers
        for variable in layer.weights
        if variable.shape == ()
    }
    assert [ranges[f"input_{end}"] for end in ("min", "max")] == [-5.0, 2.0]
    assert [ranges[f"post_activation_{end}"] for end in ("min", "max")] == [-9.0, 5.0]


def test_ranges_contain_zero():
    student, plan = prepare_dense(1)
    prepared = prepare_student(student, plan)
    prepared.set_initial_ranges([np.float32([[3.0]])])
    low, high, _ = prepared.quantized.model.layers[1].weights
    assert (float(low), float(high)) == (0.0, 3.0)
