"""Callbacks of tf_keras in a Keras 3 training."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras

from keras_kd.compression.tfmot.imports import import_tf_keras


class TfKerasCallback(keras.callbacks.Callback):
    """Runs a tf_keras callback on the tf_keras model, with the optimizer of Keras 3."""

    def __init__(self, callback: Any, tf_keras_model: Any) -> None:
        super().__init__()
        self.callback = callback
        self.tf_keras_model = tf_keras_model

    def set_params(self, params: dict) -> None:
        """Pass the parameters on."""
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        """Set the tf_keras model of the callback."""
        super().set_model(model)
        self.tf_keras_model.stop_training = False
        self.tf_keras_model.optimizer = _optimizer_view(model.optimizer)
        self.callback.set_model(self.tf_keras_model)


def _forward(name: str) -> Callable[..., None]:
    """Return a hook that calls the hook of the tf_keras callback."""

    def hook(self: TfKerasCallback, *args: Any, **kwargs: Any) -> None:
        getattr(self.callback, name)(*args, **kwargs)
        if self.tf_keras_model.stop_training:
            self.model.stop_training = True

    hook.__name__ = name
    return hook


for _event in ("train", "test", "epoch", "train_batch", "test_batch"):
    for _end in ("begin", "end"):
        setattr(TfKerasCallback, f"on_{_event}_{_end}", _forward(f"on_{_event}_{_end}"))


def adapt_callbacks(callbacks: Any, tf_keras_model: Any = None) -> list[keras.callbacks.Callback]:
    """Return callbacks of keras and tf_keras as Keras 3 callbacks.

    Raises:
        TypeError: If a callback is neither of keras nor of tf_keras.
    """
    adapted = []
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        if isinstance(callback, keras.callbacks.Callback):
            adapted.append(callback)
        elif tf_keras_model is not None and isinstance(
            callback, import_tf_keras().callbacks.Callback
        ):
            adapted.append(TfKerasCallback(callback, tf_keras_model))
        else:
            raise TypeError(
                "`callbacks` must be callbacks of keras, or of tf_keras if the student runs in "
                f"tf_keras. Received: {callback!r} (of type {type(callback).__name__})"
            )
    return adapted


def _optimizer_view(optimizer: keras.optimizers.Optimizer) -> SimpleNamespace:
    """Return the variables of an optimizer under the names that tf_keras callbacks use."""
    view = SimpleNamespace(iterations=optimizer.iterations.value)
    rate = optimizer.learning_rate
    if isinstance(rate, keras.Variable):
        view.lr = view.learning_rate = rate.value
    return view
