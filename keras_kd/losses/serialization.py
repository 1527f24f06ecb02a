"""Losses by name and configuration, as in `keras.losses`."""

import difflib
from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss, snake_case


def serialize(loss: DistillationLoss) -> dict[str, Any]:
    """Return the configuration of a loss.

    Args:
        loss: A distillation loss.

    Returns:
        A JSON-serializable dict.

    Example:
        >>> config = kd.losses.serialize(kd.losses.SoftTargets(temperature=4))
    """
    return keras.saving.serialize_keras_object(loss)


def deserialize(config: dict[str, Any]) -> DistillationLoss:
    """Create a loss from its configuration.

    Args:
        config: The result of `serialize`.

    Returns:
        A new `DistillationLoss`.

    Raises:
        TypeError: If the configuration is not that of a distillation loss.
        ValueError: If its class is custom and not registered, or cannot be created from it.

    Example:
        >>> loss = kd.losses.deserialize(config)
    """
    loss = create_from_config(config, "distillation loss")
    if not isinstance(loss, DistillationLoss):
        raise TypeError(f"Expected the configuration of a DistillationLoss. Received: {config!r}")
    return loss


def get(identifier: str | dict[str, Any] | DistillationLoss) -> DistillationLoss:
    """Return a loss from a name, a configuration or a loss.

    Args:
        identifier: A name such as `"soft_targets"` or `"SoftTargets"` (the loss with default
            arguments), the result of `serialize`, or a loss, which is returned unchanged.

    Returns:
        A `DistillationLoss`.

    Raises:
        ValueError: If there is no loss with that name, or it has required arguments.
        TypeError: If `identifier` has another type.

    Example:
        >>> kd.losses.get("outputs_mse")
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


def create_from_config(config: dict[str, Any], what: str) -> Any:
    """Create an object from the result of `keras.saving.serialize_keras_object`.

    Args:
        config: The configuration.
        what: What it is, for the message.

    Raises:
        ValueError: If its class is custom and not registered, or cannot be created from it.
    """
    try:
        return keras.saving.deserialize_keras_object(config)
    except TypeError as error:
        name = str(config.get("class_name"))
        if keras.saving.get_registered_object(config.get("registered_name") or name) is None:
            raise ValueError(
                f"The {what} '{name}' is a custom class that is not known here. Decorate it with "
                "@keras.saving.register_keras_serializable() and import it before loading, or "
                f"pass custom_objects={{'{name}': {name}}} to keras.saving.load_model."
            ) from error
        raise ValueError(
            f"The {what} '{name}' cannot be created from its configuration: its `get_config` must "
            "return all arguments of its constructor. The cause: "
            f"{str(error).strip().splitlines()[-1]}. Received: {config.get('config')}"
        ) from error


def _by_name(name: str) -> DistillationLoss:
    # A class without a `call` of its own is a base class.
    losses = [c for c in _subclasses(DistillationLoss) if c.call is not DistillationLoss.call]
    classes = {snake_case(cls.__name__): cls for cls in losses}
    by_class = {cls.__name__: own for own, cls in classes.items()}
    name = by_class.get(name, name)
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
            f"The loss '{name}' has required arguments ({error}). Pass "
            f"kd.losses.{classes[name].__name__}(...) instead of its name."
        ) from error


def _subclasses(cls: type) -> list[type]:
    return [sub for direct in cls.__subclasses__() for sub in (direct, *_subclasses(direct))]
