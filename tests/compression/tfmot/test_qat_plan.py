"""The plan of each kind of layer in quantization-aware training."""

import pytest
import tf_keras
from tf_keras import layers

from keras_kd.compression.tfmot.qat_plan import plan_layer

MAP, SERIES, VECTOR = (8, 8, 3), (8, 3), (6,)
OUTPUT_ONLY = "output is rounded, weights are not"


def plan(layer, shape, last=False, before=()):
    """The plan of a layer in a model, by default not the last layer."""
    x = inputs = tf_keras.Input(shape)
    for step in (*before, layer):
        x = step(x)
    tf_keras.Model(inputs, x if last else layers.Identity()(x))
    found = plan_layer(layer)
    return found.action, found.reason, found.target


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Conv2D(2, 3), MAP, ("quantized", "weights, per channel", "weights")),
        (layers.DepthwiseConv2D(3), MAP, ("quantized", "weights, per channel", "weights")),
        (layers.Dense(2), VECTOR, ("quantized", "weights", "weights")),
        (layers.Conv1D(2, 3), SERIES, ("kept", OUTPUT_ONLY, "output")),
        (layers.MaxPooling2D(), MAP, ("kept", "does not compute", "nothing")),
        (layers.Identity(name="a_rounded"), MAP, ("quantized", "output", "output")),
        (layers.GlobalAveragePooling2D(), MAP, ("quantized", "output", "default")),
        (layers.Activation("tanh"), MAP, ("quantized", "output", "default")),
        (layers.Activation("softplus"), MAP, ("quantized", "output", "output")),
        (layers.BatchNormalization(), MAP, ("kept", OUTPUT_ONLY, "output")),
        (layers.CategoryEncoding(3, output_mode="count"), (4,), ("quantized", "output", "output")),
    ],
)
def test_plans_of_layers(layer, shape, expected):
    assert plan(layer, shape) == expected


def test_a_batch_norm_is_quantized_with_the_convolution_before_it():
    found = plan(layers.BatchNormalization(), MAP, before=[layers.Conv2D(2, 3)])
    assert found == ("quantized", "with the convolution before it", "output")


def test_the_output_of_the_model_stays_in_float():
    assert plan(layers.Conv1D(2, 3), SERIES, last=True) == ("kept", OUTPUT_ONLY, None)


def test_a_recurrent_layer_is_refused():
    action, reason, _ = plan(layers.LSTM(2), SERIES)
    assert action == "refused"
    assert "loop over time steps" in reason


def test_attention_is_not_wrapped():
    query = tf_keras.Input((5, 4))
    layer = layers.MultiHeadAttention(2, 3)
    tf_keras.Model(query, layers.Identity()(layer(query, query)))
    assert plan_layer(layer).target is None


def test_several_outputs_are_not_quantized():
    found = plan_states()
    assert (found.action, found.target) == ("refused", None)


def plan_states():
    x = tf_keras.Input(SERIES)
    layer = layers.LSTM(2, return_state=True)
    tf_keras.Model(x, layer(x))
    return plan_layer(layer)
