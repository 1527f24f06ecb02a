"""Run a function of a Keras model in a child process on the TensorFlow backend.

The converter reads TensorFlow graphs, which only the TensorFlow backend makes. On JAX and PyTorch
the model is saved, and `python -m keras_kd.export.tensorflow_process FOLDER` loads it, which takes
some seconds to start TensorFlow.
"""

import os
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_kd.litert.process import describe_exit
from keras_kd.models.graph import first_line
from keras_kd.training.backend import BACKEND

_MODEL, _CLASSES, _REQUEST, _RESULT = "model.keras", "classes", "request", "result"
#: Errors of our functions, with messages for the user; others are explained.
_READABLE = (ValueError, RuntimeError, ModuleNotFoundError)


def run_on_tensorflow(function: Callable[..., Any], model: keras.Model, *arguments: Any) -> Any:
    """Call a function with a copy of a model on the TensorFlow backend and return its result.

    Args:
        function: A function of a module that can be imported. Its first argument is the model.
        model: A built model. Its optimizer and its losses are not copied.
        *arguments: The other arguments. They and the result are pickled.

    Raises:
        ValueError: If the model cannot be copied, does not run on TensorFlow, or the function
            raises one.
        RuntimeError: If the process crashes, or the function raises one.
    """
    classes = pickle.dumps(_custom_objects(model))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save(model, folder / _MODEL)
        (folder / _CLASSES).write_bytes(classes)
        (folder / _REQUEST).write_bytes(pickle.dumps((function, arguments)))
        environment = {
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        command = [sys.executable, "-P", "-m", __name__, name, model.name]
        run = subprocess.run(command, env=environment, capture_output=True, check=False)
        if run.returncode:
            raise RuntimeError(
                f"Expected a model that TensorFlow can convert. Received: '{model.name}', for "
                f"which TensorFlow {describe_exit(run.returncode, run.stderr)}"
            )
        result = pickle.loads((folder / _RESULT).read_bytes())
    if isinstance(result, Exception):
        raise result
    return result


def _custom_objects(model: keras.Model) -> dict[str, Any]:
    """Return the classes and functions that a model is made of and Keras does not have, by name.

    Raises:
        ValueError: If the child process could not import one.
    """
    try:
        config = keras.saving.serialize_keras_object(model)
    except Exception as error:  # `get_config` is code of the user.
        raise ValueError(_copy_message(model.name, error)) from error
    found = {}
    for part in _serialized(config):
        # Keras writes no module for classes of the main program.
        name, module = part["registered_name"], sys.modules.get(part.get("module") or "__main__")
        value = keras.saving.get_registered_object(name) or vars(module or object).get(
            part["class_name"]
        )
        if value is not None:
            _require_importable(value, model.name)
            found[name] = value
    return found


def _serialized(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the configurations of custom objects inside a configuration."""
    if isinstance(config, dict):
        if config.get("registered_name") and "class_name" in config:
            yield config
        # Losses and metrics are not loaded.
        config = [value for key, value in config.items() if key != "compile_config"]
    if isinstance(config, list | tuple):
        for value in config:
            yield from _serialized(value)


def _require_importable(value: Any, model: str) -> None:
    """Reject a class or function that another process cannot import.

    Raises:
        ValueError: If it is defined in `__main__` or inside a function.
    """
    module, name = value.__module__, value.__qualname__
    if module == "__main__" or "<locals>" in name:
        place = "the main program" if module == "__main__" else f"a function of '{module}'"
        raise ValueError(
            f"Expected layers that can be imported: on the backend '{BACKEND}', a process with "
            f"TensorFlow converts the model. Received: '{name}' in model '{model}', which is "
            f"defined in {place}. Move it to the top level of a module, and import it from there."
        )


def _save(model: keras.Model, path: Path) -> None:
    """Save a model.

    Raises:
        ValueError: If Keras cannot.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
            model.save(path)
    except Exception as error:  # Keras raises many types.
        raise ValueError(_copy_message(model.name, error)) from error


def _copy_message(model: str, error: Exception) -> str:
    unknown = re.search(r"Could not locate \w+ '[^']*'", str(error))
    return (
        "Expected a model that can be saved and loaded: on JAX and PyTorch, a process with "
        f"TensorFlow converts it. Received: '{model}', which fails with {type(error).__name__}: "
        f"{unknown[0] if unknown else first_line(error)}. Register its own classes with "
        "`keras.saving.register_keras_serializable`, and give them `get_config`."
    )


def _answer(folder: Path, name: str) -> Any:
    """Return the result of the request in a folder, or the error for the user."""
    try:
        classes = pickle.loads((folder / _CLASSES).read_bytes())
        model = keras.saving.load_model(
            folder / _MODEL, custom_objects=classes, compile=False, safe_mode=False
        )
    except Exception as error:  # Keras and the modules of the user raise many types.
        return ValueError(_copy_message(name, error))
    function, arguments = pickle.loads((folder / _REQUEST).read_bytes())
    try:
        return function(model, *arguments)
    except Exception as error:
        if type(error) in _READABLE:
            return error
        return ValueError(
            "Expected a model that also runs on the TensorFlow backend, where it is converted. "
            f"Received: '{model.name}', which fails with {type(error).__name__}: "
            f"{first_line(error)}. Write its layers with `keras.ops`."
        )


def _main(folder: Path, name: str) -> None:
    (folder / _RESULT).write_bytes(pickle.dumps(_answer(folder, name)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
