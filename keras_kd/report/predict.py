"""One pass over the data set with all models of a report."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.scores import check_class_labels
from keras_kd.litert import signature as signatures
from keras_kd.report.disagreements import Disagreements
from keras_kd.report.metrics import Metrics
from keras_kd.report.predictors import Predictor
from keras_kd.training.tf_data import is_dataset


def predict_all(
    predictors: list[Predictor],
    dataset: Iterable[Any],
    teacher: str,
    student: str,
    samples: int,
    verbose: int,
) -> tuple[dict[str, Metrics], Disagreements, int]:
    """Run every model on every batch.

    Returns:
        The metrics of each model, the disagreements of teacher and student, and the number of
        samples.

    Raises:
        ValueError: If there are no samples or no labels, or models and labels do not match.
    """
    metrics: dict[str, Metrics] = {}
    disagreements, count = Disagreements(samples), 0
    progress = _progress_bar(dataset) if verbose else None
    for batch in dataset:
        x, y = (tree.map_structure(np.asarray, part) for part in _unpack(batch))
        outputs = {predictor.name: predictor.predict(x) for predictor in predictors}
        labels = _class_labels(y, outputs[teacher])
        if not metrics:
            classes = _number_of_classes(outputs)
            metrics = {name: Metrics(classes) for name in outputs}
        flat = {name: _flatten(*output) for name, output in outputs.items()}
        for name, (predictions, logs) in flat.items():
            metrics[name].update(predictions, labels.reshape(-1), logs, *flat[teacher])
        if labels.ndim == 1:
            disagreements.update(x, labels, outputs[teacher], outputs[student])
        count += len(labels)
        if progress:
            progress.add(1)
    if not count or not metrics[teacher].labeled:
        raise ValueError(
            f"Expected a data set with labels. Received: {count} samples, none with a label. Pass "
            "batches of (x, y)."
        )
    return metrics, disagreements, count


def _progress_bar(dataset: Iterable[Any]) -> keras.utils.Progbar:
    total = int(dataset.cardinality()) if is_dataset(dataset) else -1
    return keras.utils.Progbar(total if total > 0 else None, unit_name="batch")


def _unpack(batch: Any) -> tuple[Any, Any]:
    x, y = signatures.unpack_x_y(batch)
    if y is None:
        raise ValueError(
            "Expected batches of (x, y). Received: batches without labels. Map the data set to "
            "pairs."
        )
    return x, y


def _class_labels(y: Any, output: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
    """Return integer labels in the shape of the predictions."""
    parts = tree.flatten(y)
    if len(parts) != 1:
        raise ValueError(
            f"Expected labels of one output. Received: labels in {len(parts)} arrays. Pass the "
            "labels of the output to compare."
        )
    predictions, logs = output
    shape = predictions.shape if logs is None else logs.shape
    return check_class_labels("output", parts[0], shape, logs is None)


def _number_of_classes(outputs: Mapping[str, Any]) -> int:
    """Return the number of classes.

    Raises:
        ValueError: If the models differ in it, or in the shape of their predictions.
    """
    sizes = {name: logs.shape[-1] for name, (_, logs) in outputs.items() if logs is not None}
    shapes = {name: predictions.shape for name, (predictions, _) in outputs.items()}
    if len(set(sizes.values())) != 1 or len(set(shapes.values())) != 1:
        raise ValueError(
            f"Expected models of the same classes. Received: {sizes} classes, predictions of "
            f"shapes {shapes}. Compare models of one problem; at least one needs scores as output."
        )
    return next(iter(sizes.values()))


def _flatten(
    predictions: np.ndarray, logs: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    return predictions.reshape(-1), None if logs is None else logs.reshape(-1, logs.shape[-1])
