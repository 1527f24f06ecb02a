"""Loss and accuracy for the labels, chosen from the model's output and the type of the labels."""

from typing import Any

import keras
from keras import tree

from keras_kd.models.declaration import unknown_output_message
from keras_kd.models.graph import open_graph
from keras_kd.models.logits import inspect_output


def loss_and_accuracy(
    model: keras.Model, labels: Any
) -> tuple[keras.losses.Loss, keras.metrics.Metric]:
    """Return the cross-entropy and the accuracy that match a model and its labels.

    Raises:
        ValueError: If there are several outputs, or the output may be logits or probabilities.
    """
    graph = open_graph(model)
    outputs = tree.flatten(graph.outputs)
    if len(outputs) != 1 or len(tree.flatten(labels)) != 1:
        raise ValueError(
            f"Expected a model with one output and one label. Received: '{model.name}' with "
            f"{len(outputs)} outputs and {len(tree.flatten(labels))} labels. Use keras_kd from "
            "Python for several outputs."
        )
    verdict = inspect_output(graph, outputs[0])
    if verdict.kind in ("unknown", "values"):
        raise ValueError(
            f"{unknown_output_message(model.name, verdict)} Expected a last layer whose activation "
            "is None, softmax or sigmoid. Use keras_kd from Python, where you can declare it."
        )
    logits, classes = verdict.kind == "logits", outputs[0].shape[-1]
    spec = tree.flatten(labels)[0].shape
    has_rows = spec.rank == len(outputs[0].shape) and spec[-1] == classes
    if classes == 1 or (has_rows and verdict.kind == "sigmoid"):
        metric = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5)
        return keras.losses.BinaryCrossentropy(from_logits=logits), metric
    if has_rows:
        metric = keras.metrics.CategoricalAccuracy("accuracy")
        return keras.losses.CategoricalCrossentropy(from_logits=logits), metric
    metric = keras.metrics.SparseCategoricalAccuracy("accuracy")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metric
