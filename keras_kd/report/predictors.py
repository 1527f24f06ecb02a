"""Outputs of Keras models and .tflite files through one interface."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.metadata import describe_content
from keras_kd.export.output_tasks import file_tasks, ignored_classes, model_tasks
from keras_kd.export.pre_post_processing import model_heads
from keras_kd.export.score_counters import are_distributions, log_odds, log_probabilities
from keras_kd.litert import signature as signatures
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.models.inputs import model_inputs, predict_batch
from keras_kd.models.output_evidence import OutputTask


class Predictor:
    """A model of a report, ready to predict.

    Args:
        name: Name in the report.
        model: A `keras.Model`, or the path of a .tflite file.
        outputs: What its output is; see `compare`. Defaults to `"auto"`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model.
    """

    def __init__(self, name: str, model: Any, outputs: str = "auto") -> None:
        self.name = name
        self._declared = outputs
        self._model = model if isinstance(model, keras.Model) else None
        self._output: OutputTask | None = None
        self._probabilities: bool | None = None
        #: Whether the outputs are class numbers.
        self.gives_indices = False
        if self._model is None:
            self._content = read_tflite(model)
            self._description = describe_content(self._content)
            self._runner = LiteRT(
                self._content, f"'{model}'", inputs=self._description.inputs or None
            )
            self.gives_indices = "argmax" in self._description.answers.values()

    def close(self) -> None:
        """End the interpreter process of a file."""
        if self._model is None:
            self._runner.close()

    @property
    def input_count(self) -> int:
        """Number of inputs; 1 if they are unknown."""
        if self._model is None:
            return len(self._runner.inputs)
        inputs = model_inputs(self._model)
        return 1 if inputs is None else len(inputs.shapes)

    @property
    def ignored_class(self) -> int | None:
        """The label that the compiled loss of a Keras model does not count."""
        return next(iter(ignored_classes(self._model, self._names, None).values()))

    def predict(self, x: Any) -> np.ndarray:
        """Return the outputs of a batch: (batch, ..., units), or class numbers (batch, ...).

        Raises:
            ValueError: If the model has several outputs.
        """
        values = self._run(x)
        if self.gives_indices:
            return values.astype("int64")
        values = values.astype("float64")
        return values[:, None] if values.ndim == 1 else values

    def output(self, values: np.ndarray) -> OutputTask:
        """Return what the output is, as far as the model tells; `values` are those of a batch.

        Raises:
            ValueError: If the declaration is invalid or contradicts the model.
        """
        if self._output is None:
            if self._model is None:
                found = file_tasks(
                    self._runner, self._content, self._description, outputs=self._declared
                )
            else:
                found = model_tasks(self._model, {self._names[0]: values.shape}, self._declared)
            (self._output,) = found.values()
            self._probabilities = self._output.probabilities
        return self._output

    def as_classes(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return predicted classes and their log-probabilities; one unit stands for two classes.

        Returns:
            Classes (batch, ...) and log-probabilities (batch, ..., classes); `None` for class
            numbers.
        """
        if self.gives_indices:
            return values, None
        if values.shape[-1] == 1:
            odds = self.as_log_odds(values)
            logs = -np.logaddexp(0, np.concatenate([odds, -odds], -1))
            return (odds[..., 0] > 0).astype("int64"), logs
        if self._probabilities is None:
            self._probabilities = are_distributions(values)
        return values.argmax(-1), log_probabilities(values, self._probabilities)

    def as_log_odds(self, values: np.ndarray) -> np.ndarray:
        """Return the logits of yes-or-no outputs.

        Raises:
            ValueError: If it is not known whether the values are probabilities.
        """
        if self._probabilities is None and (values.min() < 0 or values.max() > 1):
            self._probabilities = False
        if self._probabilities is None:
            raise ValueError(
                f"The output of '{self.name}' may be logits or probabilities, and it is not known "
                "which: the activation of its last layer is not visible. Declare it: outputs="
                f"{{{self.name!r}: 'logits'}} or outputs={{{self.name!r}: 'probabilities'}}."
            )
        return log_odds(values, self._probabilities)

    @property
    def _names(self) -> list[str]:
        """The name of the output of a Keras model."""
        return list(model_heads(self._model) if self._model is not None else ()) or ["output_0"]

    def _run(self, x: Any) -> np.ndarray:
        if self._model is None:
            inputs = signatures.by_name(x, list(self._runner.inputs))
            outputs = list(
                self._runner.run(self._description.processing.to_file_inputs(inputs)).values()
            )
        else:
            size = len(tree.flatten(x)[0])
            outputs = [value[:size] for value in tree.flatten(predict_batch(self._model, x))]
        if len(outputs) != 1:
            raise ValueError(
                f"Expected models with one output. Received: '{self.name}' with {len(outputs)}. "
                "Make a model of one of them: keras.Model(model.input, model.outputs[0])."
            )
        return np.asarray(outputs[0])
