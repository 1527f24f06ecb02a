"""The target class of each sample (or pixel), and the others apart from it."""

from typing import Any

from keras import ops

from keras_kd.training.labels import class_indices


def target_classes(labels: Any, teacher: Any) -> Any:
    """The class that counts as the target of each sample (or pixel).

    Where there is no label (-1, any class out of range, an all-zero one-hot row) it is the class
    that the teacher finds most likely, so that an unlabelled sample is still taught.

    Args:
        labels: Integers (batch, ...) or (batch, ..., 1), or one-hot (or soft) labels
            (batch, ..., classes).
        teacher: The teacher's logits (batch, ..., classes).

    Returns:
        int32 tensor (batch, ...).

    Raises:
        ValueError: When the shapes of labels and logits do not fit.
    """
    labels = class_indices(labels, teacher.shape)
    known = ops.logical_and(labels >= 0, labels < teacher.shape[-1])
    return ops.where(known, labels, ops.cast(ops.argmax(teacher, axis=-1), "int32"))


def split_target(logits: Any, target: Any) -> tuple[Any, Any, Any]:
    """Takes the target class apart from the others, in log space.

    Args:
        logits: (batch, ..., classes), two classes or more.
        target: The target class (batch, ...).

    Returns:
        log p of the target (batch, ...), log(1 − p) (batch, ...), and the logits of the other
        classes in order (batch, ..., classes − 1).
    """
    target = ops.expand_dims(target, -1)
    # Large logits near each other would lose their difference in the sums below.
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    classes = ops.arange(logits.shape[-1], dtype="int32")
    # Dropping one class is choosing, at each place, between a list without its end and its start.
    others = ops.where(classes[:-1] < target, logits[..., :-1], logits[..., 1:])
    own = ops.sum(ops.where(classes == target, logits, ops.zeros_like(logits)), axis=-1)
    everything = ops.logsumexp(logits, axis=-1)
    return own - everything, ops.logsumexp(others, axis=-1) - everything, others
