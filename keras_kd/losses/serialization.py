"""Losses by name and as configuration, in the way of `keras.losses.get`."""

import difflib
from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss, snake_case


def serialize(loss: DistillationLoss) -> dict[str, Any]:
    """A loss as a configuration that `deserialize` takes.

    Args:
        loss: The loss.

    Returns:
        A JSON-serialisable dict.

    Example:
        >>> config = kd.losses.serialize(kd.losses.SoftTargets(temperature=4))
    """
    return keras.saving.serialize_keras_object(loss)


def deserialize(config: dict[str, Any]) -> DistillationLoss:
    """Makes the loss that `serialize` described.

    Args:
        config: What `serialize` returned.

    Returns:
        A new loss.

    Raises:
        TypeError: When the configuration is that of something else.

    Example:
        >>> loss = kd.losses.deserialize(config)
    """
    loss = keras.saving.deserialize_keras_object(config)
    if not isinstance(loss, DistillationLoss):
        raise TypeError(f"Expected the configuration of a DistillationLoss. Received: {config!r}")
    return loss


def get(identifier: str | dict[str, Any] | DistillationLoss) -> DistillationLoss:
    """A loss from its name, its configuration or itself.

    Args:
        identifier: A name in snake case such as `"soft_targets"` (the loss with its defaults), a
            configuration from `serialize`, or a loss.

    Returns:
        A `DistillationLoss`.

    Raises:
        ValueError: When there is no loss of that name.
        TypeError: When it is none of these.

    Example:
        >>> kd.losses.get("logits_mse")
    """
    if isinstance(identifier, DistillationLoss):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return _by_name(identifier)
    raise TypeError(
        "A distillation loss must be a kd.losses.DistillationLoss, a name or a configuration. "
        f"Received: {identifier!r} (of type {type(identifier).__name__})"
    )


def _by_name(name: str) -> DistillationLoss:
    # What defines no `call` is a base class of losses and no loss.
    losses = [c for c in _subclasses(DistillationLoss) if c.call is not DistillationLoss.call]
    classes = {snake_case(cls.__name__): cls for cls in losses}
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=3, cutoff=0.4) or sorted(classes)
        raise ValueError(
            f"There is no distillation loss '{name}'. The nearest names: "
            f"{', '.join(repr(n) for n in near)}."
        )
    try:
        return classes[name]()
    except TypeError as error:
        raise ValueError(
            f"'{name}' has no defaults for all its arguments ({error}); pass "
            f"kd.losses.{classes[name].__name__}(...) instead of its name."
        ) from error


def _subclasses(cls: type) -> list[type]:
    return [sub for direct in cls.__subclasses__() for sub in (direct, *_subclasses(direct))]
