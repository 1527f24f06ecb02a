"""What stands around every `fit`: its arguments, bad batches named, a run that goes on."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_kd.bad_batches import Batches, in_our_words
from keras_kd.callbacks.resume import Resume

_FIT = inspect.signature(keras.Model.fit)


def fit_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a `fit` by name, however they were given."""
    given = _FIT.bind(None, *args, **kwargs).arguments
    return {name: value for name, value in given.items() if name != "self"}


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """The callbacks of a `fit`, given as a list, as one, or as `None`."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def fitted(
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
    callbacks = listed(given.get("callbacks"))
    resume = next((callback for callback in callbacks if isinstance(callback, Resume)), None)
    given = {**given, "callbacks": [batches, *callbacks]}
    with in_our_words(batches):
        if resume is not None:
            given = resume.prepare(model, given)
        try:
            history = fit(**given)
        finally:
            batches.step_aside()
            if resume is not None:
                resume.step_aside()
        return history if resume is None else resume.completed(history)
