import keras
import numpy as np

from keras_kd.models.random_state import seed_states
from tests import toy


def test_restoring_the_states_repeats_the_dropout():
    model, (x, _) = toy.cnn("model", dropout=0.5), toy.data(4)
    states = seed_states([model, toy.mlp("without dropout")])
    saved = [state.numpy() for state in states]
    first = model(x, training=True)
    assert (states[0].numpy() != saved[0]).any()
    for state, value in zip(states, saved, strict=True):
        state.assign(value)
    np.testing.assert_array_equal(model(x, training=True), first)


def test_weights_are_not_among_the_states():
    model = toy.cnn("model", dropout=0.5)
    states = {id(state) for state in seed_states([model])}
    assert len(states) == 1
    assert not states & {id(weight) for weight in model.weights}
    assert all(isinstance(state, keras.Variable) for state in seed_states([model]))
