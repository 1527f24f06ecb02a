"""A converted model runs on the inputs of the Keras 3 model, in any structure."""

import numpy as np
import pytest
import tf_keras

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.converted_model import original_name
from keras_kd.compression.tfmot.imports import import_tfmot
from tests.compression import models


@pytest.fixture(scope="module")
def dicts():
    model = models.several_outputs()
    return model, convert_student(model, None)


def test_a_converted_model_runs_on_dicts(dicts):
    model, converted = dicts
    x = {"right": np.ones((2, 4), "float32"), "left": np.ones((2, 3), "float32")}
    outputs = model(x)
    # In the order of the keys.
    for output, found in zip((outputs["first"], outputs["second"]), converted.run(x), strict=True):
        np.testing.assert_allclose(output, found, rtol=1e-5)


def test_the_flat_model_has_lists_of_the_same_tensors(dicts):
    _, converted = dicts
    assert isinstance(converted.flat.input, list)
    assert isinstance(converted.flat.output, list)
    assert [x is y for x, y in zip(converted.flat.inputs, converted.model.inputs, strict=True)]
    assert converted.flat.layers[1] is converted.model.layers[1]


def test_the_original_name_is_that_of_the_wrapped_layer():
    layer = tf_keras.layers.Dense(3, name="dense")
    tf_keras.Sequential([tf_keras.Input((4,)), layer])
    wrapper = import_tfmot().sparsity.keras.prune_low_magnitude(layer)
    assert wrapper.name != "dense"
    assert original_name(wrapper) == original_name(layer) == "dense"
    steps = tf_keras.layers.TimeDistributed(layer, name="steps")
    assert original_name(steps) == "steps"
