"""Students are rebuilt flat, with the same outputs."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.qat.primitive import make_primitive
from tests.compression.qat.students import cnn, samples, stack


def test_a_student_computes_the_same_after_folding():
    model = cnn()
    x = samples(model)
    primitive = make_primitive(model, x=x)
    expected = np.asarray(model(x, training=False))
    found = primitive.model(x, training=False)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert primitive.folds == {"conv": "norm", "depthwise": "norm_2"}
    kinds = {type(layer) for layer in primitive.model.layers}
    assert layers.BatchNormalization not in kinds


def test_nested_models_are_opened_and_outputs_keep_structure_and_names():
    inner = stack(layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(), name="inner")
    inputs = keras.Input((8, 8, 3))
    x = layers.Flatten()(inner(inputs))
    model = keras.Model(inputs, {"a": layers.Dense(2, name="first")(x), "b": x})
    primitive = make_primitive(model)
    assert "inner_conv" in [layer.name for layer in primitive.model.layers]
    assert primitive.origins["inner_conv"] == "inner/conv"
    assert set(primitive.model.output) == {"a", "b"}


def test_a_shared_layer_stays_shared():
    dense = layers.Dense(3, activation="silu")
    model = stack(dense, dense)
    primitive = make_primitive(model).model
    assert len(primitive.trainable_variables) == 2


def test_layers_to_keep_and_to_skip():
    model = cnn()
    assert make_primitive(model, keep=["conv"]).folds == {"depthwise": "norm_2"}
    primitive = make_primitive(model, skip=["norm", "silu"]).model
    assert isinstance(primitive.get_layer("norm"), layers.BatchNormalization)
    assert isinstance(primitive.get_layer("silu"), layers.Activation)


def test_a_layer_that_cannot_be_rebuilt_is_rejected():
    class Counting(layers.Layer):
        total = 0.0

        def call(self, x):
            Counting.total += 1
            return x + Counting.total

    model = stack(Counting())
    with pytest.raises(ValueError, match="cannot be rebuilt for quantization: the outputs diff"):
        make_primitive(model, x=samples(model))


def test_a_layer_that_cannot_be_copied_is_rejected():
    class Scale(layers.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return super().get_config()  # Without the factor.

    with pytest.raises(
        ValueError, match=r"The layer 'scale' \(Scale\) cannot be copied: its class"
    ):
        make_primitive(stack(Scale(2.0)))
