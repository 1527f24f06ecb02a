"""Names of taps: a name, a layer in place of its name, or an entry of `kd.taps`."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.models.pair_taps import TapInfo
from keras_kd.models.tap_places import plain_name

__all__ = ["LayerName", "plain_name", "resolve_tap", "tap_name", "tap_names"]


class LayerName(str):
    """The name of a layer that was passed in place of a name, until its model is known.

    Attributes:
        layer: The layer.
    """

    layer: keras.layers.Layer


def tap_name(tap: Any, argument: str, owner: str, required: bool = False) -> str | None:
    """Return the name of a tap, or `None` for the output.

    Args:
        tap: A name, a layer, an entry of `kd.taps(model)`, or `None`.
        argument: Name of the argument, for the message.
        owner: The class or function that has it, for the message.
        required: Whether `None` is rejected. Defaults to `False`.

    Raises:
        TypeError: If it is something else, such as an index.
    """
    if isinstance(tap, str) or (tap is None and not required):
        return tap
    if isinstance(tap, keras.layers.Layer):
        name = LayerName(tap.name)
        name.layer = tap
        return name
    if isinstance(tap, TapInfo):
        return tap.name
    raise TypeError(
        f"{owner}: `{argument}` must be the name of a layer or output (kd.taps(model) lists them), "
        f"or a layer of the model. Received: {argument}={tap!r} (of type {type(tap).__name__})"
    )


def tap_names(taps: Any, argument: str, owner: str, required: bool = False) -> list[str | None]:
    """Return the names of one or several taps; see `tap_name`."""
    several = taps if isinstance(taps, (list, tuple)) else [taps]
    return [tap_name(tap, argument, owner, required) for tap in several]


def resolve_tap(
    tap: str | None, models: Sequence[keras.Model | None], argument: str, owner: str
) -> str | None:
    """Return the path of a tap that was passed as a layer, and any other tap unchanged.

    Args:
        tap: The tap.
        models: The models of which one has the layer; `None` for a model that is not at hand, of
            which the layer's name is used.
        argument: As for `tap_name`.
        owner: As for `tap_name`.

    Raises:
        ValueError: If none of the models has the layer.
    """
    if not isinstance(tap, LayerName):
        return tap
    known = [model for model in models if model is not None]
    for model in known:
        path = _find(model, tap.layer, "")
        if path is not None:
            return path
    if len(known) < len(models):
        return str(tap)
    names = " or ".join(f"'{model.name}'" for model in known)
    raise ValueError(
        f"{owner}: the layer passed as `{argument}` must be one of {names}. Received: {tap.layer!r}"
        ", which is a layer of another model. Pass a layer of that model, or its name."
    )


def _find(model: keras.Model, layer: keras.layers.Layer, prefix: str) -> str | None:
    """Return the path of a layer in a model, `None` if it has no such layer."""
    for one in model.layers:
        if one is layer:
            return prefix + one.name
        found = None
        if isinstance(one, keras.Model):
            found = _find(one, layer, f"{prefix}{one.name}/")
        if found is not None:
            return found
    return None
