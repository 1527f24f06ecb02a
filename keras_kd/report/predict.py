"""One pass over the data, on which every model of a report is asked."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.export.scores import check_class_labels
from keras_kd.litert import signature as signatures
from keras_kd.report.disagreements import Disagreements
from keras_kd.report.metrics import Marks
from keras_kd.report.predictors import Answerer


def ask_all(
    answerers: list[Answerer],
    dataset: Iterable[Any],
    teacher: str,
    student: str,
    samples: int,
    verbose: int,
) -> tuple[dict[str, Marks], Disagreements, int]:
    """Asks every model about every sample.

    Args:
        answerers: The models.
        dataset: Batches of (x, y).
        teacher: The name of the one that the others are held against.
        student: The name of the one whose samples are kept.
        samples: How many samples to keep on which the two part.
        verbose: 1 for a progress bar.

    Returns:
        The marks of each model, the samples on which teacher and student part, and how many
        samples there were.

    Raises:
        ValueError: If there are no samples or no labels, or models and labels do not fit.
    """
    marks: dict[str, Marks] = {}
    shown, count, progress = Disagreements(samples), 0, None
    if verbose:
        total = int(dataset.cardinality()) if isinstance(dataset, tf.data.Dataset) else -1
        progress = keras.utils.Progbar(total if total > 0 else None, unit_name="batch")
    for batch in dataset:
        x, y = (tree.map_structure(np.asarray, part) for part in _pair(batch))
        answers = {answerer.name: answerer.ask(x) for answerer in answerers}
        labels = _labels(y, answers[teacher])
        if not marks:
            classes = _number_of_classes(answers, labels)
            marks = {name: Marks(classes) for name in answers}
        flat = {name: _flat(*answer) for name, answer in answers.items()}
        for name, (given, logs) in flat.items():
            marks[name].add(given, labels.reshape(-1), logs, *flat[teacher])
        if labels.ndim == 1:
            shown.add(x, labels, answers[teacher], answers[student])
        count += len(labels)
        if progress:
            progress.add(1)
    if not count or not marks[teacher].labelled:
        raise ValueError(
            f"Expected a data set with labels. Received: {count} samples, none with a label. Give "
            "batches of (x, y)."
        )
    return marks, shown, count


def _pair(batch: Any) -> tuple[Any, Any]:
    x, y = signatures.unpack_x_y(batch)
    if y is None:
        raise ValueError(
            "Expected batches of (x, y). Received: batches without labels. Map the data set to "
            "pairs."
        )
    return x, y


def _labels(y: Any, answers: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
    """Returns integer labels in the shape of the answers."""
    parts = tree.flatten(y)
    if len(parts) != 1:
        raise ValueError(
            f"Expected labels of one output. Received: labels in {len(parts)} arrays. Give those "
            "of the output that is compared."
        )
    given, logs = answers
    return check_class_labels(
        "output", parts[0], given.shape if logs is None else logs.shape, logs is None
    )


def _number_of_classes(answers: Mapping[str, Any], labels: np.ndarray) -> int:
    """Returns how many classes there are.

    Raises:
        ValueError: If the models differ in it, or in the shape of their answers.
    """
    sizes = {name: logs.shape[-1] for name, (_, logs) in answers.items() if logs is not None}
    shapes = {name: given.shape for name, (given, _) in answers.items()}
    if len(set(sizes.values())) != 1 or len(set(shapes.values())) != 1:
        raise ValueError(
            f"Expected models of the same classes. Received: {sizes} classes, answers of the "
            f"shapes {shapes}. Compare models of one problem, at least one of which gives scores."
        )
    return next(iter(sizes.values()))


def _flat(given: np.ndarray, logs: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    return given.reshape(-1), None if logs is None else logs.reshape(-1, logs.shape[-1])
