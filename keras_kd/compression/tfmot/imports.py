"""Lazy imports of tf_keras and tensorflow-model-optimization.

tensorflow-model-optimization works on tf_keras models only, and importing it points `tf.keras` at
tf_keras for the whole process. `import_tfmot` restores `tf.keras` and the environment afterwards,
so Keras 3 can train and export in the same process, before and after the import.
"""

import contextlib
import functools
import importlib
import os
from collections.abc import Iterator
from types import ModuleType

import tensorflow as tf

_SWITCH = "TF_USE_LEGACY_KERAS"


@functools.cache
def import_tf_keras() -> ModuleType:
    """Import tf_keras.

    Raises:
        ImportError: If it is not installed.
    """
    return _import("tf_keras", "tf-keras")


@functools.cache
def import_tfmot() -> ModuleType:
    """Import tensorflow-model-optimization.

    Raises:
        ImportError: If it or tf_keras is not installed.
    """
    tf_keras, tf_keras_v1 = import_tf_keras(), _import("tf_keras.api._v1.keras", "tf-keras")
    with tf_keras_as_tf_dot_keras(tf_keras, tf_keras_v1):
        return _import("tensorflow_model_optimization", "tensorflow-model-optimization")


@contextlib.contextmanager
def tf_keras_as_tf_dot_keras(tf_keras: ModuleType, tf_keras_v1: ModuleType) -> Iterator[None]:
    """Make `tf.keras` point at tf_keras, and restore everything at the end.

    `tf.keras` is a lazy module that resolves to one Keras for good when it is first accessed, so it
    is replaced in TensorFlow's namespace rather than accessed.
    """
    modules = {tf: tf_keras, tf.compat.v2: tf_keras, tf.compat.v1: tf_keras_v1}
    before = {module: vars(module)["keras"] for module in modules}
    switch = os.environ.get(_SWITCH)
    for module, keras in modules.items():
        module.keras = keras
    try:
        yield
    finally:
        for module, keras in before.items():
            module.keras = keras
        if switch is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = switch


def _import(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"kd.compression needs the package '{package}', and '{error.name}' cannot be imported. "
            f"Install it: pip install {package} (it comes with keras_kd)."
        ) from error
