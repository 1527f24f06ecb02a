"""Kernels and untrained variables of a quantized model."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.qat_plan import plan_layer
from keras_kd.compression.tfmot.quantized_model import quantize
from tests.compression import models

NAMES = ("conv", "frozen", "clustered")


def prepare(frozen=(), clustered=()):
    steps = [layers.Conv2D(2, 3, name="conv"), layers.DepthwiseConv2D(3, name="frozen")]
    steps += [layers.Flatten(), layers.Dense(2, name="clustered")]
    student = models.randomized(keras.Sequential([keras.Input(models.IMAGE), *steps]))
    for name in frozen:
        student.get_layer(name).trainable = False
    converted = convert_student(student, None)
    plans = {
        layer.name: dataclasses.replace(
            plan_layer(layer), preserve_clusters=layer.name in clustered
        )
        for chain in converted.layers.values()
        for layer in chain
    }
    return student, quantize(converted, plans)


@pytest.fixture(scope="module")
def quantized():
    return prepare(frozen=["frozen"], clustered=["clustered"])


def test_the_kernels_are_those_of_the_quantized_layers(quantized):
    student, model = quantized
    for name, kernel in zip(NAMES, model.kernels, strict=True):
        np.testing.assert_allclose(kernel, student.get_layer(name).kernel, atol=1e-6, err_msg=name)


def test_frozen_layers_and_clustered_kernels_are_not_trained(quantized):
    _, model = quantized
    untrained = {variable.name.split(":")[0] for variable in model.untrained_variables}
    assert {"frozen/depthwise_kernel", "frozen/bias", "clustered/kernel"} <= untrained
    assert not any(name.startswith("conv") for name in untrained)
    assert "clustered/bias" not in untrained
