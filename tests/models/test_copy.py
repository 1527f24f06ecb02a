"""A copy of a model computes the same and shares no variable with the original."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.models.copy import copy_model


def functional():
    x = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")], name="inner")
    doubled = layers.Lambda(lambda value: ops.sin(value) * 2, name="lambda")(inner(x))
    return keras.Model(x, layers.Dense(2, name="dense")(ops.relu(doubled)))


def sequential():
    return keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2)])


class Subclassed(keras.Model):
    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def subclassed():
    model = Subclassed(3)
    model(np.zeros((1, 4), "float32"))
    return model


@keras.saving.register_keras_serializable("tests")
class Scores(layers.Layer):
    """Multiplies with the weights of another layer, which its configuration does not name."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def call(self, x):
        return x @ ops.transpose(self.embedding.embeddings)


class OwnGraph(keras.Model):
    """A class that builds its graph, as those of KerasHub do."""

    def __init__(self, width=3, **kwargs):
        x = keras.Input((4,), dtype="int32")
        embedding = layers.Embedding(5, width, name="embedding")
        y = layers.Dense(width, name="dense")(embedding(x))
        super().__init__(x, Scores(embedding, name="scores")(y), **kwargs)
        self.width = width

    def get_config(self):
        return {"width": self.width, "name": self.name}


def test_a_class_that_builds_its_graph_builds_that_of_the_copy():
    model = OwnGraph(2)
    model.get_layer("dense").trainable = False
    x = np.arange(8).reshape(2, 4) % 5
    for one in (model, keras.Sequential([keras.Input((4,), dtype="int32"), model])):
        copy = copy_model(one)
        np.testing.assert_array_equal(np.asarray(one(x)), np.asarray(copy(x)))
        shapes = [[weight.shape for weight in each.trainable_weights] for each in (one, copy)]
        assert shapes == [[(5, 2)], [(5, 2)]]


@pytest.mark.parametrize("make", [functional, sequential, subclassed])
def test_a_copy_computes_the_same_with_its_own_variables(make):
    model = make()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = np.asarray(model(x))
    copy = copy_model(model)
    assert type(copy) is type(model)
    np.testing.assert_array_equal(copy(x), expected)
    copy.set_weights([weight + 1 for weight in copy.get_weights()])
    np.testing.assert_array_equal(model(x), expected)


def test_layers_of_a_graph_keep_their_names():
    model = functional()
    assert [w.path for w in copy_model(model).weights] == [w.path for w in model.weights]


def test_frozen_layers_are_frozen_in_the_copy():
    model = functional()
    model.get_layer("inner").trainable = False
    copy = copy_model(model)
    assert not copy.get_layer("inner").get_layer("dense").trainable
    assert len(copy.trainable_variables) == len(model.trainable_variables) == 2


class Wrapper(keras.Model):
    """A model that passes its layer on through the configuration."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x)

    def get_config(self):
        return {"layer": self.layer}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class WithoutConfig(Subclassed):
    def get_config(self):
        return {"unknown": 1}


def test_a_model_that_cannot_be_rebuilt_is_rejected():
    model = WithoutConfig()
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="cannot be copied: it must be Functional or Sequential"):
        copy_model(model)


def test_a_copy_that_shares_weights_is_rejected():
    model = Wrapper(layers.Dense(2))
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="its copy shares 2 weights with it"):
        copy_model(model)
