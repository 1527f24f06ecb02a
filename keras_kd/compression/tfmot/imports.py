"""Where Keras 2 comes in: tf_keras and tensorflow-model-optimization, imported when first used.

tensorflow-model-optimization works on tf_keras models only, and while it is imported it points
`tf.keras` at tf_keras for the whole process. Here `tf.keras` and the environment are as they were
once the import is done, so that Keras 3 trains and exports in the same process, before and after.
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
def tf_keras() -> ModuleType:
    """Imports tf_keras.

    Raises:
        ImportError: When it is not installed.
    """
    return _imported("tf_keras", "tf-keras")


@functools.cache
def tfmot() -> ModuleType:
    """Imports tensorflow-model-optimization.

    Raises:
        ImportError: When it, or tf_keras, is not installed.
    """
    legacy, legacy_v1 = tf_keras(), _imported("tf_keras.api._v1.keras", "tf-keras")
    with _standing_for_tf_keras(legacy, legacy_v1):
        return _imported("tensorflow_model_optimization", "tensorflow-model-optimization")


@contextlib.contextmanager
def _standing_for_tf_keras(legacy: ModuleType, legacy_v1: ModuleType) -> Iterator[None]:
    """Lets `tf.keras` be tf_keras for a while, and puts everything back.

    `tf.keras` is a lazy module that settles for good on one Keras when it is first touched. It is
    taken out of TensorFlow's namespace meanwhile, so that it is not touched.
    """
    places = {tf: legacy, tf.compat.v2: legacy, tf.compat.v1: legacy_v1}
    before = {module: vars(module)["keras"] for module in places}
    switch = os.environ.get(_SWITCH)
    for module, keras in places.items():
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


def _imported(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"kd.compression needs the package '{package}', and '{error.name}' cannot be imported. "
            f"Install it: pip install {package} (it comes with keras_kd)."
        ) from error
