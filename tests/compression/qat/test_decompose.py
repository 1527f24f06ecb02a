"""Decomposed layers compute the same as the student's."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.compression.qat.decompose import decomposition
from keras_kd.compression.qat.primitive import make_primitive
from tests.compression.qat.students import attention, only_call, samples, stack

TOKENS = (6, 8)


def two(x):
    return layers.Average(name="a")([x, layers.Dense(3)(x), layers.Dense(3)(x)])


CASES = {
    "relu": [layers.Activation("relu")],
    "relu6": [layers.Dense(4, activation="relu6")],
    "silu": [layers.Dense(4, activation="silu", name="d")],
    "hard_sigmoid": [layers.Rescaling(4.0), layers.Activation("hard_sigmoid")],
    "operations": [lambda x: ops.silu(ops.relu(x) / 2.0) + ops.hard_sigmoid(x) + ops.relu6(x)],
    "division by a tensor": [lambda x: x / (ops.relu(x) + 1.0)],
    "separable": [layers.SeparableConv2D(4, 3, strides=2, depth_multiplier=2, activation="relu")],
    "norm of maps": [layers.BatchNormalization()],
    "norm of vectors": [layers.GlobalAveragePooling2D(), layers.BatchNormalization()],
    "average": [two],
}
SEQUENCES = {
    "separable": [layers.SeparableConv1D(4, 3)],
    "norm": [layers.BatchNormalization()],
    "attention": [attention()],
    "attention with other widths": [
        lambda x: layers.MultiHeadAttention(2, 4, value_dim=3, use_bias=False, dropout=0.1)(
            x, layers.Dense(5)(x)
        )
    ],
    "causal attention": [
        lambda x: layers.MultiHeadAttention(2, 4, name="attention")(x, x, use_causal_mask=True)
    ],
    "attention with a mask": [
        lambda x: layers.MultiHeadAttention(2, 4, name="attention")(
            x, x, attention_mask=ops.matmul(x, ops.transpose(x, (0, 2, 1))) > 0
        )
    ],
    "einsum": [layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="gelu")],
    "einsum to heads": [layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de")],
    "einsum from heads": [
        layers.Reshape((6, 2, 4)),
        layers.EinsumDense("abcd,cde->abe", (None, 5), bias_axes="e"),
    ],
}


def check(model):
    x = samples(model)
    primitive = make_primitive(model, x=x).model
    expected = np.asarray(model(x, training=False))
    found = primitive(x, training=False)
    np.testing.assert_allclose(found, expected, atol=2e-6 * max(1, np.abs(expected).max()))
    return {type(layer) for layer in primitive.layers}


@pytest.mark.parametrize("case", CASES)
def test_layers_of_maps(case):
    kinds = check(stack(*CASES[case]))
    assert not kinds & {layers.SeparableConv2D, layers.BatchNormalization, layers.Average}


@pytest.mark.parametrize("case", SEQUENCES)
def test_layers_of_sequences(case):
    kinds = check(stack(*SEQUENCES[case], shape=TOKENS))
    assert not kinds & {layers.SeparableConv1D, layers.EinsumDense, layers.MultiHeadAttention}


@pytest.mark.parametrize(
    "step",
    [
        lambda x: layers.MultiHeadAttention(2, 4, name="layer")(*[layers.Masking()(x)] * 2),
        lambda x: layers.MultiHeadAttention(2, 4, name="layer")(x, x, return_attention_scores=True)[
            0
        ],
        layers.EinsumDense("abc,bd->adc", (5, None), name="layer"),
        layers.EinsumDense("abc,bcd->abd", (6, 5), name="layer"),
        layers.BatchNormalization(axis=1, name="layer"),
        layers.Activation("elu", name="layer"),
    ],
)
def test_other_layers_are_copied(step):
    model = stack(step, shape=TOKENS)
    assert decomposition(only_call(model, "layer")) is None
    assert isinstance(model.get_layer("layer"), keras.layers.Layer)
    check(model)


def test_the_last_part_has_the_name_of_the_layer():
    model = stack(layers.Dense(4, activation="silu", name="dense"), attention(), shape=TOKENS)
    primitive = make_primitive(model).model
    assert isinstance(primitive.get_layer("dense"), layers.Multiply)
    assert isinstance(primitive.get_layer("attention"), layers.Dense)
