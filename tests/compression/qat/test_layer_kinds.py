"""How the output of each primitive layer is rounded."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.compression.qat.layer_kinds import (
    constant,
    fixed_range,
    fuses_relu,
    is_relu,
    kernel_kind,
    layer_kind,
)
from keras_kd.models.activation_range import SIGMOID, TANH
from tests.compression.qat.students import only_call, stack

KINDS = {
    "kernel": [layers.Conv2D(2, 3), layers.Dense(2), layers.DepthwiseConv2D(3)],
    "own": [
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Activation("gelu"),
        layers.Activation("hard_silu"),
        layers.Rescaling(0.5),
    ],
    "pass": [layers.Flatten(), layers.MaxPooling2D(), layers.ZeroPadding2D(), layers.Dropout(0.1)],
    "same": [layers.AveragePooling2D(2), layers.UpSampling2D(interpolation="bilinear")],
    "fixed": [layers.Softmax(), layers.Activation("sigmoid"), layers.Activation("tanh")],
    "float": [
        layers.LayerNormalization(),
        layers.Activation("elu"),
        layers.PReLU(),
        layers.Rescaling([1.0, 2.0, 3.0]),
        layers.Softmax(axis=1),
        layers.UnitNormalization(),
    ],
}


@pytest.mark.parametrize(("kind", "layer"), [(k, x) for k, xs in KINDS.items() for x in xs])
def test_the_kind_of_a_layer(kind, layer):
    assert layer_kind(only_call(stack(layer), layer.name)) == kind


@pytest.mark.parametrize(
    ("kind", "operation", "function"),
    [
        ("own", "add", lambda x: x + 1.0),
        ("float", "matmul", lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2)))),
        ("own", "add", lambda x: ops.add(x, ops.ones((3,)))),
        ("float", "add", lambda x: ops.add(x, keras.Variable([1.0]))),
        ("pass", "reshape", lambda x: ops.reshape(x, (-1, 192))),
        ("shared", "concatenate", lambda x: ops.concatenate([x, x])),
        ("fixed", "sigmoid", ops.sigmoid),
        ("float", "sin", ops.sin),
    ],
)
def test_the_kind_of_an_operation(kind, operation, function):
    model = stack(function)
    (name,) = [op.name for op in model.operations if op.name.startswith(operation)]
    assert layer_kind(only_call(model, name)) == kind


def test_fixed_ranges():
    model = stack(layers.Activation("tanh", name="tanh"), layers.Softmax(name="softmax"))
    assert fixed_range(only_call(model, "tanh")) == TANH
    assert fixed_range(only_call(model, "softmax")) == SIGMOID
    assert fixed_range(only_call(model, "x")) is None if "x" in model.operations else True


def test_a_relu_is_fused_into_a_convolution_and_not_into_a_pooling():
    model = stack(
        layers.Conv2D(2, 3, name="conv"),
        layers.MaxPooling2D(name="pool"),
        layers.ReLU(6.0, name="relu"),
        layers.ReLU(negative_slope=0.1, name="leaky"),
    )
    assert fuses_relu(only_call(model, "conv"))
    assert not fuses_relu(only_call(model, "pool"))
    assert is_relu(only_call(model, "relu"))
    assert not is_relu(only_call(model, "leaky"))


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (layers.Conv2D(2, 3), "kernel"),
        (layers.Embedding(4, 2), None),
        (layers.Conv2D(2, 3, data_format="channels_first"), None),
        (layers.Activation("hard_silu"), "hard_swish"),
        (layers.Activation("gelu"), None),
        (layers.LeakyReLU(), "leak"),
    ],
)
def test_the_kernel_of_a_layer(layer, kind):
    assert kernel_kind(only_call(stack(layer), layer.name)) == kind


@pytest.mark.parametrize(
    ("step", "kind", "number"),
    [
        (lambda x: layers.Add()([x, x]), "sum", None),
        (lambda x: layers.Add()([x, x, x]), None, None),
        (lambda x: x + 3.0, "sum", 3.0),
        (lambda x: 2 * x, "product", 2.0),
        (lambda x: x - 0.5, "difference", 0.5),
        (lambda x: 0.5 - x, None, None),
        (lambda x: x + np.ones(3), None, None),
        (lambda x: x + 0.0, None, None),
        (layers.Rescaling(0.3), "product", 0.3),
        (layers.Rescaling([0.1, 0.2, 0.3]), None, None),
    ],
)
def test_the_kernel_of_sums_and_products(step, kind, number):
    model = stack(step)
    call = only_call(model, model.operations[-1].name)
    assert kernel_kind(call) == kind
    if kind:
        assert constant(call) == number
