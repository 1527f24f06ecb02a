import threading

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.models.hooks import Hook, Recorder

X = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))


def test_input_output_and_preactivation_are_captured(model):
    hidden, head = model.get_layer("hidden"), model.get_layer("head")
    hooks = [Hook(head, "input"), Hook(hidden, "output"), Hook(head, "preactivation")]
    with Recorder(hooks) as recorder:
        outputs = model(X)
    expected = hidden(X)
    np.testing.assert_array_equal(recorder.value(hooks[0]), expected)
    np.testing.assert_array_equal(recorder.value(hooks[1]), expected)
    np.testing.assert_array_equal(keras.ops.softmax(recorder.value(hooks[2])), outputs)


def test_every_time_step_of_a_wrapped_layer_is_captured():
    inputs = keras.Input((3, 5))
    wrapped = layers.TimeDistributed(layers.Dense(4, activation="softmax"))
    model = keras.Model(inputs, wrapped(inputs))
    hook = Hook(wrapped, "preactivation")
    with Recorder([hook]) as recorder:
        outputs = model(np.stack([X, 2 * X, 3 * X], axis=1))
    assert recorder.value(hook).shape == (2, 3, 4)
    np.testing.assert_allclose(keras.ops.softmax(recorder.value(hook)), outputs, rtol=1e-6)


def test_hooks_are_removed_even_if_the_model_fails(model):
    hooks = [Hook(model.get_layer("hidden"), "output"), Hook(model.get_layer("head"), "input")]
    hooks.append(Hook(model.get_layer("head"), "preactivation"))
    with pytest.raises(ValueError, match="."), Recorder(hooks):
        model(np.ones((2, 7), "float32"))
    assert not any("call" in layer.__dict__ for layer in model.layers)
    assert model.get_layer("head").activation is keras.activations.softmax


def test_recorders_of_other_threads_capture_nothing(model):
    hook = Hook(model.get_layer("hidden"), "output")
    with Recorder([hook]) as recorder:
        thread = threading.Thread(target=lambda: model(X))
        thread.start()
        thread.join()
        with pytest.raises(ValueError, match="'hidden' ran 0 times"):
            recorder.value(hook)
        with Recorder([hook]) as inner:
            model(X)
    np.testing.assert_array_equal(recorder.value(hook), inner.value(hook))
    assert "call" not in hook.layer.__dict__


def test_one_call_and_one_tensor_are_captured():
    lstm = layers.LSTM(2, return_state=True, name="lstm")
    inputs = keras.Input((3, 5))
    model = keras.Model(inputs, [*lstm(inputs), *lstm(layers.ReLU()(inputs))])
    steps = np.stack([X, 2 * X, 3 * X], axis=1)
    hooks = [Hook(lstm, "output", index=2, position=1, calls=2), Hook(lstm, "input", calls=2)]
    with Recorder(hooks) as recorder:
        ran = model(steps)
    runs = [np.asarray(ran[2]), np.asarray(ran[5])]
    found = np.asarray(recorder.value(hooks[0]))
    assert any(np.array_equal(found, run) for run in runs)
    assert recorder.value(hooks[1]).shape == (2, 3, 5)
    with pytest.raises(ValueError, match="'lstm' ran 2 times in one call of the model, where 3"):
        recorder.value(Hook(lstm, "output", calls=3))


def test_each_call_of_a_wrapped_layer_has_its_own_steps():
    inputs = keras.Input((3, 5))
    wrapped = layers.TimeDistributed(layers.Dense(5, activation="softmax"))
    model = keras.Model(inputs, wrapped(wrapped(inputs)))
    hooks = [Hook(wrapped, "preactivation", position=i, calls=2) for i in range(2)]
    steps = np.stack([X, 2 * X, 3 * X], axis=1)
    with Recorder(hooks) as recorder:
        outputs = model(steps)
    first, second = (keras.ops.softmax(recorder.value(hook)) for hook in hooks)
    np.testing.assert_allclose(first, wrapped(steps), rtol=1e-5)
    np.testing.assert_allclose(second, outputs, rtol=1e-5)


def test_a_layer_that_runs_twice_is_ambiguous(model):
    hook = Hook(model.get_layer("hidden"), "output")
    with Recorder([hook]) as recorder:
        model(X)
        model(X)
    with pytest.raises(ValueError, match="'hidden' ran 2 times in one call"):
        recorder.value(hook)
