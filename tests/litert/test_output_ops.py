"""The op that computes an output: logits, probabilities, or unknown."""

import keras
import pytest
from keras import layers

from keras_kd.litert.flatbuffer import parse
from keras_kd.litert.output_ops import FinalOp, final_op
from tests.export import models


def find(content):
    graph = parse(content).subgraphs[0]
    return final_op(content, graph.tensors[graph.outputs[0]].name.decode())


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([layers.Softmax()], FinalOp("SOFTMAX", "softmax", False)),
        (
            [layers.Activation("sigmoid"), layers.Reshape((2, 1))],
            FinalOp("LOGISTIC", "sigmoid", False),
        ),
        ([layers.Activation("tanh")], FinalOp("TANH", "values", False)),
        ([layers.Activation("log_softmax")], FinalOp("LOG_SOFTMAX", "logits", False)),
        ([layers.ReLU()], FinalOp("FULLY_CONNECTED", "values", False)),
        ([], FinalOp("FULLY_CONNECTED", "logits", False)),
    ],
    ids=["softmax", "sigmoid", "tanh", "log_softmax", "relu", "dense"],
)
def test_the_last_computing_op_decides(last, expected):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2), *last])
    assert find(models.convert(model)[0]) == expected


def averaged(activation):
    inputs = keras.Input((3,))
    members = [layers.Dense(2, activation)(inputs) for _ in range(3)]
    return keras.Model(inputs, layers.Average()(members))


@pytest.mark.parametrize(
    ("activation", "kind"),
    [(None, "logits"), ("softmax", "unknown"), ("sigmoid", "unknown"), ("tanh", "values")],
)
def test_the_mean_of_outputs_has_their_kind_unless_they_are_probabilities(activation, kind):
    assert find(models.convert(averaged(activation))[0]).kind == kind


def test_dequantization_is_skipped():
    found = find(models.content(models.cnn, "int8"))
    assert found == FinalOp("FULLY_CONNECTED", "logits", True)


def test_an_unknown_tensor_is_rejected():
    with pytest.raises(ValueError, match="Expected an output of the file: .*Received: 'none'"):
        final_op(models.content(models.cnn), "none")
