"""Early exits: small classifiers on hidden taps, present only in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_kd.models.declaration import Declaration
from keras_kd.models.taps import Tap, TappedModel

Exits = Sequence[str] | Mapping[str, keras.layers.Layer]

_POOLING = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}


class ModelWithExits(TappedModel):
    """A `TappedModel` that also returns the logits of its early exits, at their taps.

    Args:
        exits: By tap, the layer from there to logits.
        also: Further taps to return.
        model: As for `TappedModel`.
        taps: As for `TappedModel`; the logits at the tap of an exit are those of the exit.
        outputs: As for `TappedModel`.
        training: As for `TappedModel`.
    """

    def __init__(
        self,
        exits: Mapping[str, keras.layers.Layer],
        also: Sequence[Tap],
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: Declaration = "auto",
        training: bool = False,
    ) -> None:
        self._exits = {Tap(name, logits=True): layer for name, layer in exits.items()}
        hidden = [Tap(name) for name in exits]
        own = [tap for tap in (*taps, *also) if tap not in self._exits]
        super().__init__(model, [*own, *hidden], outputs, training)
        for tap, layer in self._exits.items():
            self.shapes[tap] = tuple(layer.compute_output_shape(self.shapes[Tap(tap.name)]))

    def __call__(self, inputs: Any) -> tuple[Any, dict[Tap, Any]]:
        """Run the model and each exit once; see `TappedModel`."""
        outputs, student_outputs = super().__call__(inputs)
        for tap, layer in self._exits.items():
            student_outputs[tap] = layer(student_outputs[Tap(tap.name)], training=self.training)
        return outputs, student_outputs


def build_exits(
    student: keras.Model, exits: Exits, outputs: Declaration
) -> dict[str, keras.layers.Layer]:
    """Build the exits, by tap.

    Raises:
        TypeError: If one is not a layer.
        ValueError: If there is no exit, a tap does not exist, or there is no default exit for it.
    """
    if isinstance(exits, str) or not exits:
        raise ValueError(
            "DeepSupervision: `exits` must be a list of hidden taps, or a dict from tap to layer. "
            f"Received: exits={exits!r}"
        )
    end = Tap(None, logits=True)
    shapes = TappedModel(student, [end, *(Tap(name) for name in exits)], outputs=outputs).shapes
    made = {}
    for name in exits:
        given = exits[name] if isinstance(exits, Mapping) else None
        if not isinstance(given, (keras.layers.Layer, type(None))):
            raise TypeError(
                f"DeepSupervision: the exit at '{name}' must be a Keras layer or model. "
                f"Received: {given!r}"
            )
        layer = given or _exit(name, shapes[Tap(name)], shapes[end], student.dtype_policy)
        if not layer.built:
            layer.build(shapes[Tap(name)])
        made[name] = layer
    return made


def _exit(name: str, shape: tuple, wanted: tuple, policy: Any) -> keras.layers.Layer:
    """Return the default exit from a tap of one shape to logits of another."""
    own, classes = f"{name.replace('/', '_')}_exit", wanted[-1]
    if len(wanted) == 2 and len(shape) in (2, 3, 4, 5):
        parts = [layers.Dense(classes, dtype=policy)]
        if len(shape) > 2:
            parts = [_POOLING[len(shape)](dtype=policy), *parts]
        if len(shape) == 4:
            channels = shape[-1]
            convolution = layers.Conv2D(
                channels, 3, padding="same", activation="relu", dtype=policy
            )
            parts = [convolution, *parts]
        return keras.Sequential(parts, name=own)
    if len(wanted) == len(shape) == 4 and None not in wanted[1:]:
        size = layers.Resizing(*wanted[1:3], dtype=policy)
        return keras.Sequential([layers.Conv2D(classes, 1, dtype=policy), size], name=own)
    if len(wanted) == len(shape) == 3:
        return layers.Dense(classes, dtype=policy, name=own)
    raise ValueError(
        f"DeepSupervision: there is no default exit from the tap '{name}' of shape {shape} to "
        f"logits of shape {wanted}. Pass a layer: exits={{'{name}': layer}}."
    )
