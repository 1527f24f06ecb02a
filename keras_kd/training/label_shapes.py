"""Reject labels whose shape does not fit their output: Keras repeats them, or fails in the step."""

from collections.abc import Sequence

#: Losses of class indices.
OF_INDICES = ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy")


def require_label_shape(
    name: str,
    loss: str | None,
    found: Sequence[int | None],
    shape: Sequence[int | None],
    channels_last: bool = True,
) -> None:
    """Reject labels that a loss of Keras cannot compare with an output.

    Args:
        name: The name of the output.
        loss: The class of the loss, as `loss_name` returns it. With `None` nothing is rejected.
        found: The shape of the labels; an axis of 1 at the end may be missing or too many.
        shape: The shape of the output.
        channels_last: Whether the last axis of the output is the channels (or classes); of other
            outputs only the number of axes is checked. Defaults to `True`.

    Raises:
        ValueError: If the shapes do not match.
    """
    found, shape = tuple(found), tuple(shape)
    if loss in OF_INDICES:
        column = len(found) == len(shape) and found[-1] in (1, None)
        if len(found) != len(shape) - 1 and not column:
            raise ValueError(
                f"The loss expects class indices, labels of shape {shape[:-1]}, for the output "
                f"'{name}' of shape {shape}. Received: labels of shape {found}. For one-hot labels "
                "use keras.losses.CategoricalCrossentropy."
            )
    elif loss is not None and not _same(found, shape, channels_last):
        indices = ""
        if len(found) < len(shape) or found[-1] == 1:
            indices = " For class indices use keras.losses.SparseCategoricalCrossentropy."
        raise ValueError(
            f"The loss {loss} compares each number of the output '{name}' with a label, so the "
            f"labels must have its shape, {shape}. Received: labels of shape {found}. Losses in a "
            f"list are in the order of the outputs.{indices}"
        )


def _same(found: tuple, shape: tuple, channels_last: bool) -> bool:
    if len(found) == len(shape) + 1 and found[-1] == 1:
        found = found[:-1]
    elif len(found) == len(shape) - 1 and shape[-1] == 1:
        found = (*found, 1)
    if len(found) != len(shape) or not channels_last:
        return len(found) == len(shape)
    return all(a == b or None in (a, b) for a, b in zip(found[1:], shape[1:], strict=True))
