import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.models.graph import open_graph
from keras_kd.models.split import locate_layer, model_after
from tests import toy


def test_the_part_after_a_tap_has_the_same_outputs_and_its_own_weights():
    model, (x, _) = toy.cnn("model"), toy.data(4)
    head = model_after(model, "pool", "head")
    pooled = keras.Model(model.input, model.get_layer("pool").output)(x)
    np.testing.assert_array_equal(head(pooled), model(x))
    assert head.name == "head"
    before = model.get_layer("logits").kernel.numpy()
    head.set_weights([0 * weight for weight in head.get_weights()])
    np.testing.assert_array_equal(model.get_layer("logits").kernel, before)


def test_the_part_after_the_output_passes_it_on():
    model = toy.mlp("model")
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(model_after(model, "head", "nothing")(x), x)


def test_a_layer_of_a_nested_model_is_located():
    inner = toy.mlp("inner")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)), name="model")
    graph = open_graph(model, inside=["inner/hidden"])
    tensor = locate_layer(model, graph, "inner/hidden")
    assert graph.maker(tensor).layer is inner.get_layer("hidden")
    with pytest.raises(ValueError, match="'model' has no layer or output 'inner/hiden'"):
        locate_layer(model, graph, "inner/hiden")


def test_a_tap_that_a_second_path_bypasses_is_rejected():
    inputs = keras.Input((4,))
    skipped = layers.Add()([inputs, layers.Dense(4, name="dense")(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(skipped), name="residual")
    with pytest.raises(ValueError, match="'residual' depends on more than its tap 'dense'"):
        model_after(model, "dense", "head")
