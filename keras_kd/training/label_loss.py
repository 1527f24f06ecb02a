"""Loss and metric for the labels, by the task of the model's output."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.models.output_evidence import compiled_losses, decide_output, declared_outputs
from keras_kd.models.taps import TappedModel
from keras_kd.models.task import Evidence, task_from_labels
from keras_kd.training.label_arrays import read_labels


class UndeclaredTaskError(ValueError):
    """The task of an output is not known, or the labels contradict it: it must be declared.

    Its message does not say how, because a call and a command line do it differently.
    """


@dataclass(frozen=True)
class LabelLoss:
    """How a model is trained on labels and evaluated.

    Attributes:
        task: One of `TASKS`.
        loss: The loss.
        metric: Accuracy, or the root mean squared error of numbers (regression).
    """

    task: str
    loss: keras.losses.Loss
    metric: keras.metrics.Metric


def find_task(model: keras.Model, labels: Iterable[Any], outputs: str = "auto") -> str:
    """Return the task of a model's output: as declared, by its head, or by the labels.

    Args:
        model: A model with one output.
        labels: All labels, in batches.
        outputs: What the output is declared as. Defaults to `"auto"`.

    Raises:
        UndeclaredTaskError: If the task is not known, or the labels contradict it.
        ValueError: If there are several outputs or labels.
    """
    evidence = output_evidence(model, outputs)
    task, shape = decide_output(evidence).task, TappedModel(model, []).output_shapes[evidence.name]
    arrays = [_single(model, batch) for batch in labels]
    if task is None:
        found = {task_from_labels(one, shape) for one in arrays} - {None}
        # Zeros and ones in some batches are numbers in others.
        task = max(found, key=("classes", "binary", "labels", "values").index, default=None)
    if task is None or (task == "values" and outputs in ("logits", "probabilities")):
        raise UndeclaredTaskError(
            f"it is not known whether the output of '{model.name}' is classes, yes-or-no labels or "
            "numbers (regression), or the labels contradict it"
        )
    for one in arrays:
        try:
            read_labels(evidence.name, task, one, (len(one), *shape[1:]))
        except ValueError as error:
            raise UndeclaredTaskError(str(error)) from error
    return task


def label_loss(model: keras.Model, labels: Any, task: str, outputs: str = "auto") -> LabelLoss:
    """Return the loss and the metric of a task.

    Args:
        model: A model with one output.
        labels: The `tf.TensorSpec` of a batch of labels.
        task: One of `TASKS`.
        outputs: What the output is declared as. Defaults to `"auto"`.

    Raises:
        UndeclaredTaskError: If the output may be logits or probabilities.
    """
    evidence = output_evidence(model, outputs)
    if task == "values":
        metric = keras.metrics.RootMeanSquaredError("rmse")
        return LabelLoss(task, keras.losses.MeanSquaredError(), metric)
    probabilities = decide_output(evidence).probabilities
    if probabilities is None or evidence.heads == ["values"]:
        raise UndeclaredTaskError(
            f"the output of '{model.name}' may be logits or probabilities, because the activation "
            "of its last layer is not None, softmax or sigmoid"
        )
    logits = not probabilities
    if task in ("binary", "labels"):
        metric = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5)
        return LabelLoss(task, keras.losses.BinaryCrossentropy(from_logits=logits), metric)
    spec = tree.flatten(labels)[0].shape
    if len(spec) == len(TappedModel(model, []).output_shapes[evidence.name]) and spec[-1] != 1:
        loss = keras.losses.CategoricalCrossentropy(from_logits=logits)
        return LabelLoss(task, loss, keras.metrics.CategoricalAccuracy("accuracy"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return LabelLoss(task, loss, keras.metrics.SparseCategoricalAccuracy("accuracy"))


def output_evidence(model: keras.Model, outputs: str) -> Evidence:
    """Return what is known of the only output of a model.

    Raises:
        ValueError: If there are several.
    """
    tapped = TappedModel(model, [])
    if len(tapped.output_names) != 1:
        raise ValueError(
            f"Expected a model with one output. Received: '{model.name}' with "
            f"{len(tapped.output_names)} outputs. Use keras_kd from Python for several outputs."
        )
    (name,) = tapped.output_names
    declared = declared_outputs(outputs, tapped.heads)[name]
    head = tapped.heads[name]
    loss = compiled_losses(model, [name])[name]
    return Evidence(name, tapped.output_shapes[name][-1], declared, loss, [head])


def _single(model: keras.Model, labels: Any) -> np.ndarray:
    parts = tree.flatten(labels)
    if len(parts) != 1:
        raise ValueError(
            f"Expected one label for the output of '{model.name}'. Received: {len(parts)} labels. "
            "Use keras_kd from Python for several outputs."
        )
    return ops.convert_to_numpy(parts[0])
