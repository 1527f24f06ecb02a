"""Which normalizations can be folded, and the folded weights."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.qat.folding import find_folds, fold, has_last_axis, scale_and_shift
from keras_kd.models.graph import open_graph
from tests.compression.qat.students import only_call, samples, stack


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(4, 3, name="layer"),
        layers.Conv2D(4, 3, use_bias=False, name="layer"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="layer"),
        layers.Conv2DTranspose(4, 3, name="layer"),
        layers.Dense(4, name="layer"),
        layers.SeparableConv2D(4, 3, name="layer"),
    ],
)
def test_the_folded_layer_computes_the_same(layer):
    model = stack(layer, layers.BatchNormalization(name="norm"))
    assert find_folds(open_graph(model), ()) == {"layer": "norm"}
    folded = type(layer).from_config({**layer.get_config(), "use_bias": True})
    x = samples(model)
    folded(x)
    weights = [np.asarray(weight) for weight in layer.weights]
    folded.set_weights(fold(layer, weights, model.get_layer("norm")))
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(folded(x), expected, atol=1e-6 * np.abs(expected).max())


def both(x):
    y = layers.Conv2D(4, 3, name="layer")(x)
    return layers.Concatenate()([y, layers.BatchNormalization(name="norm")(y)])


@pytest.mark.parametrize(
    "steps",
    [
        [layers.BatchNormalization()],
        [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()],
        [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)],
        [layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()],
        [both],
    ],
)
def test_other_normalizations_are_not_folded(steps):
    assert find_folds(open_graph(stack(*steps)), ()) == {}


def test_nothing_is_folded_into_a_layer_to_keep():
    model = stack(layers.Conv2D(4, 3, name="layer"), layers.BatchNormalization(name="norm"))
    assert find_folds(open_graph(model), ["layer"]) == {}


def test_scale_and_shift_are_those_of_inference():
    model = stack(layers.BatchNormalization(name="norm", center=False))
    x = samples(model)
    scale, shift = scale_and_shift(model.get_layer("norm"))
    np.testing.assert_allclose(x * scale + shift, model(x, training=False), atol=1e-5)
    assert has_last_axis(only_call(model, "norm"))
    assert keras.backend.is_float_dtype(str(scale.dtype))
