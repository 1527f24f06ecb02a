"""A function of a model in a process with TensorFlow."""

import pickle
import subprocess

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.export import tensorflow_process
from keras_kd.export.tensorflow_process import run_on_tensorflow
from tests import toy


@keras.saving.register_keras_serializable(package="tests")
class Scale(layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Unregistered(Scale):
    """Found by its name in this module."""


class NotOnTensorFlow(Scale):
    def call(self, x):
        return np.asarray(x)


class WithoutConfig(layers.Layer):
    def __init__(self, source, **kwargs):
        super().__init__(**kwargs)
        self.source = source

    def call(self, x):
        return x


def a_loss(y, outputs):
    return ops.mean(outputs)


def model(layer):
    found = keras.Sequential([keras.Input((4,)), layers.Dense(3), layer], name="model")
    found.compile("sgd", a_loss)  # It is not copied, so it need not be importable.
    return found


def outputs_and_backend(model, x):
    return model.predict_on_batch(x), keras.config.backend(), model.compiled


def fail(model, error):
    raise error


@pytest.fixture
def in_this_process(monkeypatch):
    """Run the requests here: the process takes seconds to start."""

    def run(command, **kwargs):
        tensorflow_process._main(tensorflow_process.Path(command[-2]), command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(tensorflow_process.subprocess, "run", run)


@pytest.mark.subprocess
@pytest.mark.slow
def test_the_function_runs_with_a_copy_of_the_model_on_tensorflow():
    one, x = model(Unregistered(3.0)), np.ones((2, 4), "float32")
    found, backend, compiled = run_on_tensorflow(outputs_and_backend, one, x)
    np.testing.assert_allclose(found, one.predict_on_batch(x), rtol=1e-6)
    assert (backend, compiled) == ("tensorflow", False)


@pytest.mark.parametrize("kind", [Scale, Unregistered])
def test_custom_layers_are_imported(kind, in_this_process):
    one, x = model(kind(3.0)), np.ones((2, 4), "float32")
    found, *_ = run_on_tensorflow(outputs_and_backend, one, x)
    np.testing.assert_array_equal(found, one.predict_on_batch(x))


@pytest.mark.parametrize(
    "error",
    [ValueError("a"), RuntimeError("b"), ModuleNotFoundError("c", name="package")],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_function_are_raised_unchanged(error, in_this_process):
    with pytest.raises(type(error)) as raised:
        run_on_tensorflow(fail, toy.mlp("model"), error)
    assert (type(raised.value), str(raised.value)) == (type(error), str(error))


@pytest.mark.parametrize("error", [KeyError("a"), NotImplementedError("a"), TypeError("a")])
def test_other_errors_are_explained(error, in_this_process):
    name = type(error).__name__
    with pytest.raises(ValueError, match=f"also runs on the TensorFlow backend.*fails with {name}"):
        run_on_tensorflow(fail, toy.mlp("model"), error)


def test_layers_that_no_process_can_import_are_rejected(monkeypatch):
    class Local(Scale):
        pass

    with pytest.raises(ValueError, match=r"'.*Local' in model 'model', which is defined in a func"):
        run_on_tensorflow(fail, model(keras.saving.register_keras_serializable()(Local)(2.0)))
    monkeypatch.setattr(Unregistered, "__module__", "__main__")
    monkeypatch.setattr("__main__.Unregistered", Unregistered, raising=False)
    with pytest.raises(ValueError, match="'Unregistered' in model 'model', .* the main program"):
        run_on_tensorflow(fail, model(Unregistered(2.0)))


def test_a_model_without_a_config_is_rejected():
    with pytest.raises(ValueError, match="Received: 'model', which fails with .*get_config"):
        run_on_tensorflow(fail, model(WithoutConfig(object())))


def test_a_model_that_cannot_be_loaded_is_rejected(in_this_process):
    class Lost(Scale):
        pass

    Lost.__qualname__ = "Lost"  # As if it were in the module, under another name.
    with pytest.raises(ValueError, match="'model', which .* Could not locate class 'Lost'\\."):
        run_on_tensorflow(fail, model(Lost(2.0)), ValueError())


def test_a_crash_is_reported(monkeypatch):
    def crash(command, **kwargs):
        return subprocess.CompletedProcess(command, -11, stderr=b"the last words")

    monkeypatch.setattr(tensorflow_process.subprocess, "run", crash)
    with pytest.raises(RuntimeError, match="crashed .* signal SIGSEGV.*'the last words'"):
        run_on_tensorflow(fail, toy.mlp("model"))


def test_what_is_pickled_is_a_reference():
    assert len(pickle.dumps(tensorflow_process._custom_objects(model(Scale(2.0))))) < 200
