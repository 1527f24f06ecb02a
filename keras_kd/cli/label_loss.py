"""The loss and the accuracy of labels, as a model's output and the labels ask for them."""

from typing import Any

import keras
from keras import tree

from keras_kd.models.graph import open_graph
from keras_kd.models.logits import inspect_output, unknown_output_message


def labels_loss(model: keras.Model, labels: Any) -> tuple[keras.losses.Loss, keras.metrics.Metric]:
    """Returns the loss of the labels, and the metric that counts the right answers.

    Args:
        model: A model of one output.
        labels: The specification of a batch of labels: integers, or one row for each answer.

    Raises:
        ValueError: If the model has several outputs, or it cannot be told whether these are logits.
    """
    graph = open_graph(model)
    outputs = tree.flatten(graph.outputs)
    if len(outputs) != 1 or len(tree.flatten(labels)) != 1:
        raise ValueError(
            f"Expected a model of one output and one label. Received: '{model.name}' with "
            f"{len(outputs)} outputs and {len(tree.flatten(labels))} labels. Use keras_kd from "
            "Python for several."
        )
    verdict = inspect_output(graph, outputs[0])
    if verdict.kind == "unknown":
        raise ValueError(
            f"{unknown_output_message(model.name, verdict)} Expected a last layer whose activation "
            "is None, softmax or sigmoid. Use keras_kd from Python, and say which it is."
        )
    logits, classes = verdict.kind == "logits", outputs[0].shape[-1]
    spec = tree.flatten(labels)[0].shape
    rows = spec.rank == len(outputs[0].shape) and spec[-1] == classes
    if classes == 1 or (rows and verdict.kind == "sigmoid"):
        metric = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5)
        return keras.losses.BinaryCrossentropy(from_logits=logits), metric
    if rows:
        metric = keras.metrics.CategoricalAccuracy("accuracy")
        return keras.losses.CategoricalCrossentropy(from_logits=logits), metric
    metric = keras.metrics.SparseCategoricalAccuracy("accuracy")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metric
