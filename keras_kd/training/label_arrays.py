"""Labels of a batch as NumPy arrays, read by the task of their output."""

import numpy as np

from keras_kd.models.task import MEANINGS
from keras_kd.training.labels import UNLABELED

_FORMS = {
    "classes": "class numbers {positions}, or one-hot rows {shape}",
    "binary": "0 or 1 in the shape {positions} or {shape}",
    "labels": "0 or 1 in the shape {shape}, one for each label",
    "values": "numbers in the shape {shape}",
}


class LabelFormError(ValueError):
    """Labels whose form does not match the task of their output: they may belong to another."""


def read_labels(
    name: str,
    task: str,
    labels: np.ndarray,
    shape: tuple[int, ...],
    ignore_class: int | None = None,
    known_classes: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of an output, and which of them are known.

    Args:
        name: The output, for messages.
        task: One of `kd.models.task.TASKS`.
        labels: Of a batch. NaN, -1 for classes and yes-or-no labels, and a row of zeros or NaN for
            one-hot classes mean that there is no label.
        shape: Shape of the output's values: (batch, ..., units).
        ignore_class: A label that is not counted. Defaults to `None`.
        known_classes: Whether the last axis of `shape` is the classes; if not, there is no such
            axis. Defaults to `True`.

    Returns:
        The labels and a mask, (batch, ...) for classes and yes-or-no questions, and of the shape of
        the values for independent labels and numbers.

    Raises:
        LabelFormError: If the labels have another form than the task.
        ValueError: If they are class numbers that the output does not have.
    """
    positions = shape[:-1] if known_classes else shape
    if labels.dtype.kind not in "biuf":
        raise _form_error(name, task, labels, positions, shape)
    if task == "classes":
        return _read_classes(name, labels, positions, shape, ignore_class, known_classes)
    wanted = positions if task == "binary" else shape
    if shape[-1] == 1 and labels.shape in (positions, shape):
        labels = labels.reshape(wanted)
    if labels.shape != wanted:
        raise _form_error(name, task, labels, positions, shape)
    known = ~np.isnan(labels) if labels.dtype.kind == "f" else np.ones(labels.shape, bool)
    if task == "values":
        return labels.astype("float64"), known
    known &= labels != UNLABELED
    if ignore_class is not None:
        known &= labels != ignore_class
    if not np.isin(labels[known], (0, 1)).all():
        raise _form_error(name, task, labels, positions, shape)
    return labels.astype("float64"), known


def _read_classes(
    name: str,
    labels: np.ndarray,
    positions: tuple[int, ...],
    shape: tuple[int, ...],
    ignore_class: int | None,
    known_classes: bool,
) -> tuple[np.ndarray, np.ndarray]:
    if labels.shape == (*positions, 1):
        labels = labels[..., 0]
    elif labels.shape[:-1] == positions and (not known_classes or labels.shape == shape):
        known = (labels > 0).any(-1)
        if not np.allclose(labels[known].sum(-1), 1, atol=1e-3) or (labels < 0).any():
            raise _form_error(name, "classes", labels, positions, shape)
        return np.where(known, labels.argmax(-1), UNLABELED), known
    if labels.shape != positions:
        raise _form_error(name, "classes", labels, positions, shape)
    missing = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(labels.shape, bool)
    signed = labels if labels.dtype.kind == "f" else labels.astype("int64")
    classes = np.where(missing, UNLABELED, signed).astype("int64")
    if (classes != labels)[~missing].any():
        raise _form_error(name, "classes", labels, positions, shape)
    if ignore_class is not None:
        classes = np.where(classes == ignore_class, UNLABELED, classes)
    count = shape[-1] if known_classes else np.inf
    if (classes < UNLABELED).any() or (classes >= count).any():
        raise ValueError(
            f"Output '{name}': expected class numbers from 0 to {count - 1}, or -1 for no label. "
            f"Received: labels from {labels.min()} to {labels.max()}. Pass ignore_class="
            f"{labels.max()} if it stands for no label, or omit labels that are not classes of "
            "this output."
        )
    return classes, classes != UNLABELED


def _form_error(
    name: str,
    task: str,
    labels: np.ndarray,
    positions: tuple[int, ...],
    shape: tuple[int, ...],
) -> LabelFormError:
    form = _FORMS[task].format(positions=positions, shape=shape)
    numbers = labels.dtype.kind in "biuf" and labels.size and not np.isnan(labels).all()
    found = f", from {np.nanmin(labels):g} to {np.nanmax(labels):g}" if numbers else ""
    return LabelFormError(
        f"Output '{name}' is {MEANINGS[task]}: expected {form}. Received: labels of shape "
        f"{labels.shape} and dtype {labels.dtype}{found}. If the output is something else, compile "
        "the model with its loss, or declare `outputs=`: 'classes', 'binary', 'labels' or 'values'."
    )
