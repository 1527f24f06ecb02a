"""Early exits: small classifiers on hidden taps, present only in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_kd.models.declaration import Declaration
from keras_kd.models.layouts import from_channels_last, shape_with_channels_last
from keras_kd.models.tap_names import plain_name, resolve_tap, tap_names
from keras_kd.models.taps import Tap, TappedModel

Exits = Sequence[str] | Mapping[str, keras.layers.Layer | Mapping[str, keras.layers.Layer]]

_POOLING = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}


class ModelWithExits(TappedModel):
    """A `TappedModel` that also returns the logits of its early exits, at their taps.

    An exit has the layout of the student: it gets the tap as the student makes it, and its logits
    have the classes on the axis on which the student's output has them.

    Args:
        exits: By name (see `exit_name`), the layer from a tap to logits.
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
        names = TappedModel(model, []).output_names
        self._exits = {Tap(name, logits=True): layer for name, layer in exits.items()}
        #: By the tap of an exit, the tap that it reads and the output that it predicts.
        self._places = {tap: split_exit(tap.name, names) for tap in self._exits}
        hidden = dict.fromkeys(Tap(name) for name, _ in self._places.values())
        own = [tap for tap in (*taps, *also) if tap not in self._exits]
        super().__init__(model, [*own, *hidden], outputs, training)
        for tap, layer in self._exits.items():
            at, output = self._places[tap]
            shape = tuple(layer.compute_output_shape(self.own_shape(Tap(at))))
            self.channel_axes[tap] = self.channel_axes[output]
            self.shapes[tap] = shape_with_channels_last(shape, self.channel_axes[tap])

    def __call__(self, inputs: Any) -> tuple[Any, dict[Tap, Any]]:
        """Run the model and each exit once; see `TappedModel`."""
        outputs, student_outputs = super().__call__(inputs)
        for tap, layer in self._exits.items():
            hidden = Tap(self._places[tap][0])
            value = from_channels_last(student_outputs[hidden], self.channel_axes[hidden])
            student_outputs[tap] = self.arrange(tap, layer(value, training=self.training))
        return outputs, student_outputs

    def output_of(self, name: str | None) -> str | None:
        """Return the output that a tap of logits is for, also of an exit; see `TappedModel`."""
        place = self._places.get(Tap(name, logits=True))
        return super().output_of(name) if place is None else place[1]


def exit_name(tap: str, output: str, outputs: Sequence[str]) -> str:
    """Return the name of the exit at a tap: `TAP`, or `TAP.OUTPUT` for one of several outputs."""
    return tap if len(outputs) == 1 else f"{tap}.{output}"


def split_exit(name: str, outputs: Sequence[str]) -> tuple[str, str]:
    """Return the tap and the output of an exit from its name."""
    if len(outputs) == 1:
        return name, outputs[0]
    output = max((one for one in outputs if name.endswith(f".{one}")), key=len)
    return name.removesuffix(f".{output}"), output


def _by_output(tap: str, given: Any, outputs: Sequence[str]) -> Mapping[str, Any]:
    """Return the exits at a tap by output."""
    if len(outputs) == 1:
        return {outputs[0]: given}
    if given is None:
        return dict.fromkeys(outputs)
    if not isinstance(given, Mapping) or set(given) != set(outputs):
        raise ValueError(
            f"DeepSupervision: the student has the outputs {list(outputs)}, so the exit at '{tap}' "
            f"must be a dict with a layer for each. Received: {given!r}"
        )
    return given


def _by_name(student: keras.Model, exits: Exits) -> dict[str, keras.layers.Layer | None]:
    """Return the exits by the names of their taps, `None` for a default one."""
    given = exits if isinstance(exits, Mapping) else dict.fromkeys(exits)
    names = tap_names(list(given), "exits", "DeepSupervision", required=True)
    paths = [resolve_tap(name, [student], "exits", "DeepSupervision") for name in names]
    return dict(zip(paths, given.values(), strict=True))


def build_exits(
    student: keras.Model, exits: Exits, outputs: Declaration
) -> dict[str, keras.layers.Layer]:
    """Build the exits, by name.

    Raises:
        TypeError: If one is not a layer.
        ValueError: If there is no exit, a tap does not exist, or there is no default exit for it.
    """
    if isinstance(exits, str) or not exits:
        raise ValueError(
            "DeepSupervision: `exits` must be a list of hidden taps, or a dict from tap to layer. "
            f"Received: exits={exits!r}"
        )
    exits = _by_name(student, exits)
    names = TappedModel(student, []).output_names
    ends = {name: final_tap(name, names) for name in names}
    tapped = TappedModel(student, [*ends.values(), *map(Tap, exits)], outputs=outputs)
    made = {}
    for tap, several in exits.items():
        for output, given in _by_output(tap, several, names).items():
            if not isinstance(given, (keras.layers.Layer, type(None))):
                raise TypeError(
                    f"DeepSupervision: the exit at '{tap}' must be a Keras layer or model. "
                    f"Received: {given!r}"
                )
            name = exit_name(tap, output, names)
            layer = given or _exit(name, tap, tapped, ends[output], student.dtype_policy)
            if not layer.built:
                layer.build(tapped.own_shape(Tap(tap)))
            made[name] = layer
    return made


def final_tap(output: str, outputs: Sequence[str]) -> Tap:
    """Return the tap of the logits of one of the student's outputs."""
    return Tap(None if len(outputs) == 1 else output, logits=True)


def _exit(exit_: str, name: str, tapped: TappedModel, end: Tap, policy: Any) -> keras.layers.Layer:
    """Return the default exit from a tap to the logits at another tap."""
    wanted, shape = tapped.shapes[end], tapped.shapes[Tap(name)]
    own, classes = f"{plain_name(exit_).replace('.', '_')}_exit", wanted[-1]
    first, ends_first = (
        tapped.channel_axes[tap] < len(tapped.shapes[tap]) - 1 for tap in (Tap(name), end)
    )
    layout = {"data_format": "channels_first" if first else "channels_last", "dtype": policy}
    if len(wanted) == 2 and len(shape) in (2, 3, 4, 5):
        parts = [layers.Dense(classes, dtype=policy)]
        if len(shape) > 2:
            parts = [_POOLING[len(shape)](**layout), *parts]
        if len(shape) == 4:
            channels = shape[-1]
            convolution = layers.Conv2D(channels, 3, padding="same", activation="relu", **layout)
            parts = [convolution, *parts]
        return keras.Sequential(parts, name=own)
    if len(wanted) == len(shape) == 4 and None not in wanted[1:] and first == ends_first:
        parts = [layers.Conv2D(classes, 1, **layout), layers.Resizing(*wanted[1:3], **layout)]
        return keras.Sequential(parts, name=own)
    if len(wanted) == len(shape) == 3 and not first and not ends_first:
        return layers.Dense(classes, dtype=policy, name=own)
    raise ValueError(
        f"DeepSupervision: there is no default exit from the tap '{name}' of shape "
        f"{tapped.own_shape(Tap(name))} to logits of shape "
        f"{tapped.own_shape(end)}. Pass a layer: exits={{'{name}': layer}}."
    )
