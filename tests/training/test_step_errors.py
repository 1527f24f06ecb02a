"""Errors of a step, without what Keras and JAX add to them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.training.step_errors import unwrapped_errors
from tests import toy

MESSAGE = "`scale` must be at least 0.\nReceived: scale=-1"
EXACT = f"^{MESSAGE}$"


class Failing(layers.Layer):
    """Fails after the model is built."""

    fails = False

    def call(self, x):
        if self.fails:
            raise ValueError(MESSAGE)
        return x


def test_the_message_of_an_error_in_a_layer_is_its_own():
    x, layer = ops.ones((2, 3)), Failing()
    layer(x)
    layer.fails = True
    with pytest.raises(ValueError, match=EXACT), unwrapped_errors():
        layer(x)


def test_notes_and_the_class_of_an_error():
    error = UnicodeError(MESSAGE)
    error.add_note("For simplicity, JAX has removed its internal frames")
    with pytest.raises(UnicodeError) as raised, unwrapped_errors():
        raise error
    assert raised.value is error
    assert (str(error), error.__notes__, error.__cause__) == (MESSAGE, [], None)


def student(layer):
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.Dense(4)(layer(inputs)), name="student")


@pytest.mark.skipif(keras.config.backend() == "tensorflow", reason="see test_graph_errors")
@pytest.mark.parametrize("method", ["fit", "train_on_batch", "evaluate", "test_on_batch"])
def test_an_error_in_the_step_has_its_own_message(method):
    layer = Failing()
    model = kd.Distiller(student(layer), toy.mlp("teacher", seed=1))
    model.compile("sgd", toy.sparse_loss())
    layer.fails = True
    verbose = {} if method.endswith("batch") else {"verbose": 0}
    with pytest.raises(ValueError, match=EXACT) as raised:
        getattr(model, method)(*toy.vectors(), **verbose)
    assert getattr(raised.value, "__notes__", []) == []


@pytest.mark.skipif(keras.config.backend() != "jax", reason="compiled by JAX")
@pytest.mark.parametrize(
    "augment", [np.sort, lambda x: x if x[0, 0] > 0 else -x], ids=["numpy", "if"]
)
def test_functions_that_need_values_are_explained(augment):
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), augment=augment)
    model.compile("sgd", toy.sparse_loss())
    with pytest.raises(TypeError, match=r"`augment`, losses.* keras.ops.*cause: .*traced array"):
        model.fit(*toy.vectors(), verbose=0)
