"""Predictions of Keras models and .tflite files through one interface."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.metadata import describe_content
from keras_kd.litert import signature as signatures
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.models.inputs import select_inputs


class Predictor:
    """A model of a report, ready to predict.

    Args:
        name: Name in the report.
        model: A `keras.Model`, or the path of a .tflite file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model if isinstance(model, keras.Model) else None
        self._has_probabilities: bool | None = None
        if self._model is None:
            content = read_tflite(model)
            self._description = describe_content(content)
            self._runner = LiteRT(content, f"'{model}'", inputs=self._description.inputs or None)

    def close(self) -> None:
        """End the interpreter process of a file."""
        if self._model is None:
            self._runner.close()

    def predict(self, x: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the predicted classes of a batch, and the log-probabilities.

        Returns:
            Classes (batch, ...) and log-probabilities (batch, ..., classes); `None` for a file
            whose output is class numbers.

        Raises:
            ValueError: If the model has several outputs.
        """
        values = self._output(x)
        if self._model is None and "argmax" in self._description.answers.values():
            return values.astype("int64"), None
        values = values.astype("float64")
        if self._has_probabilities is None:
            self._has_probabilities = _are_probabilities(values)
        logs = _log_probabilities(values, self._has_probabilities)
        return logs.argmax(-1), logs

    def _output(self, x: Any) -> np.ndarray:
        if self._model is None:
            inputs = signatures.by_name(x, list(self._runner.inputs))
            outputs = list(
                self._runner.run(self._description.processing.to_file_inputs(inputs)).values()
            )
        else:
            size = len(tree.flatten(x)[0])
            own = select_inputs(self._model, x)
            outputs = [value[:size] for value in tree.flatten(self._model.predict_on_batch(own))]
        if len(outputs) != 1:
            raise ValueError(
                f"Expected models with one output. Received: '{self.name}' with {len(outputs)}. "
                "Make a model of one of them: keras.Model(model.input, model.outputs[0])."
            )
        return np.asarray(outputs[0])


def _are_probabilities(values: np.ndarray) -> bool:
    """Whether values are probabilities, possibly rounded to 8 bits, and not logits."""
    inside = values.min() >= 0 and values.max() <= 1
    return bool(inside and (values.shape[-1] == 1 or np.abs(values.sum(-1) - 1).max() < 0.05))


def _log_probabilities(values: np.ndarray, probabilities: bool) -> np.ndarray:
    """Return log-probabilities of all classes; one unit stands for two classes."""
    if values.shape[-1] == 1:
        if not probabilities:
            return -np.logaddexp(0, np.concatenate([values, -values], -1))
        values = np.concatenate([1 - values, values], -1)
    if not probabilities:
        highest = values.max(-1, keepdims=True)
        return values - highest - np.log(np.exp(values - highest).sum(-1, keepdims=True))
    # Rounding to 8 bits turns small probabilities into zero.
    values = np.maximum(values, 1e-7)
    return np.log(values / values.sum(-1, keepdims=True))
