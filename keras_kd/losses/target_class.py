"""The target class of each sample or pixel, and the non-target classes."""

from typing import Any

from keras import ops

from keras_kd.training.labels import class_indices


def target_classes(labels: Any, teacher: Any) -> Any:
    """Return the target class of each sample or pixel.

    Without a label (-1, a class out of range, a one-hot row of zeros) it is the teacher's most
    likely class, so that unlabeled samples are distilled, too.

    Args:
        labels: Integers (batch, ...) or (batch, ..., 1), or one-hot (or soft) labels
            (batch, ..., classes).
        teacher: The teacher's logits (batch, ..., classes).

    Returns:
        int32 tensor (batch, ...).

    Raises:
        ValueError: If the shapes of labels and logits do not match.
    """
    labels = class_indices(labels, teacher.shape)
    known = ops.logical_and(labels >= 0, labels < teacher.shape[-1])
    return ops.where(known, labels, ops.cast(ops.argmax(teacher, axis=-1), "int32"))


def split_target(logits: Any, target: Any) -> tuple[Any, Any, Any]:
    """Split logits into target class and other classes, in log space.

    Args:
        logits: (batch, ..., classes), two classes or more.
        target: The target class (batch, ...).

    Returns:
        log p of the target (batch, ...), log(1 − p) (batch, ...), and the logits of the other
        classes in order (batch, ..., classes − 1).
    """
    target = ops.expand_dims(target, -1)
    # The sums below would round away the difference of two large logits.
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    classes = ops.arange(logits.shape[-1], dtype="int32")
    # Removes one class: each entry comes from the list without its last or its first class.
    others = ops.where(classes[:-1] < target, logits[..., :-1], logits[..., 1:])
    own = ops.sum(ops.where(classes == target, logits, ops.zeros_like(logits)), axis=-1)
    total = ops.logsumexp(logits, axis=-1)
    return own - total, ops.logsumexp(others, axis=-1) - total, others
