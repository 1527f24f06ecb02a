"""Kernels and untrained variables of a quantized model."""

import dataclasses

import numpy as np
import pytest

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.qat_plan import plan_layer
from keras_kd.compression.tfmot.quantized_model import quantize
from tests.compression import runs


def prepare(frozen=(), clustered=()):
    student = runs.wide()
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
    return prepare(frozen=["second"], clustered=["dense"])


def test_the_kernels_are_those_of_the_quantized_layers(quantized):
    student, model = quantized
    names = ("first", "second", "depthwise", "dense", "logits")
    assert len(model.kernels) == len(names)
    for name, kernel in zip(names, model.kernels, strict=True):
        np.testing.assert_allclose(kernel, student.get_layer(name).kernel, atol=1e-6, err_msg=name)


def test_frozen_layers_and_clustered_kernels_are_not_trained(quantized):
    _, model = quantized
    untrained = {variable.name.split(":")[0] for variable in model.untrained_variables}
    assert {"second/kernel", "second/bias", "dense/kernel"} <= untrained
    assert not any(name.startswith(("first", "logits")) for name in untrained)
    assert "dense/bias" not in untrained
