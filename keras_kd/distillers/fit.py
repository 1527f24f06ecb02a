"""What stands around every `fit`: its arguments, bad batches named, a run that goes on.

Optimizer and metrics get their variables before the first step. Made within it, as Keras makes
them, they would have TensorFlow trace the step twice, and here once more under a condition.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_kd.callbacks.resume import Resume
from keras_kd.distillers.input_checks import specs
from keras_kd.models.taps import TappedModel
from keras_kd.training.finite_checks import Batches
from keras_kd.training.graph_errors import readable_errors
from keras_kd.training.tf_data import disable_autotune

_FIT = inspect.signature(keras.Model.fit)


def fit_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a `fit` by name, however they were given."""
    given = _FIT.bind(None, *args, **kwargs).arguments
    return {name: value for name, value in given.items() if name != "self"}


def list_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """The callbacks of a `fit`, given as a list, as one, or as `None`."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def run_fit(
    model: keras.Model,
    fit: Callable[..., keras.callbacks.History],
    given: dict[str, Any],
    on_bad_batch: str = "raise",
) -> keras.callbacks.History:
    """Runs Keras's `fit`.

    Args:
        model: The model.
        fit: Its `fit`, as Keras has it.
        given: The arguments, by name.
        on_bad_batch: As for `Distiller`.

    Returns:
        The `History`.

    Raises:
        ValueError: When a batch is bad, or none came; see also `kd.callbacks.Resume`.
        RuntimeError: When the data set raised an error.
    """
    batches = Batches(on_bad_batch)
    callbacks = list_callbacks(given.get("callbacks"))
    resume = next((callback for callback in callbacks if isinstance(callback, Resume)), None)
    given = {**given, "callbacks": [batches, *callbacks]}
    if model.compiled:
        _build_optimizer(model)
    with readable_errors(lambda: batches.at_work):
        if resume is not None:
            given = resume.prepare(model, given)
        # Else the end of each epoch would wait for a thread of `tf.data`.
        given = {
            name: disable_autotune(value) if isinstance(value, tf.data.Dataset) else value
            for name, value in given.items()
        }
        try:
            history = fit(**given)
        finally:
            batches.step_aside()
            if resume is not None:
                resume.step_aside()
        return history if resume is None else resume.completed(history)


def build_metrics(compiled: Any, x: Any, y: Any, student: TappedModel) -> None:
    """Makes the variables of the metrics of a student of one output, where y's shape is known.

    Args:
        compiled: What Keras made of the metrics, or `None`.
        x: As `fit` got it.
        y: The same.
        student: The student.
    """
    found, shapes = specs(x, y), list(student.output_shapes.values())
    if compiled is None or compiled.built or found is None or len(shapes) != 1:
        return
    labels = found[1]
    if isinstance(labels, tf.TensorSpec) and labels.shape.rank is not None:
        shown = keras.KerasTensor(tuple(labels.shape), labels.dtype.name)
        compiled.build(shown, keras.KerasTensor(shapes[0]))


def _build_optimizer(model: keras.Model) -> None:
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
