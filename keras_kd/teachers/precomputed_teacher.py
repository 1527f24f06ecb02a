"""A teacher whose outputs are part of the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.models.declaration import Declaration, check_declared_names, declared_kind
from keras_kd.models.inputs import ModelInputs
from keras_kd.models.logits import log_odds, log_probabilities
from keras_kd.models.taps import Tap
from keras_kd.models.task import Evidence
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import Fingerprint


class PrecomputedTeacher(BaseTeacher):
    """A teacher whose outputs are part of the data; see `Teacher.from_outputs`."""

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int | None]],
        outputs: Declaration,
        classes: Sequence[int | str | None] | None,
        name: str | None,
    ) -> None:
        _check_shapes(shapes)
        super().__init__(name or "/".join(shapes), classes, outputs, None)
        #: Shapes of its outputs by key, batch first.
        self.shapes = {key: (None, *shape) for key, shape in shapes.items()}
        check_declared_names(self.outputs, list(self.shapes), self.name)
        unknown = [key for key in self.shapes if self.declared(key) == "auto"]
        if unknown:
            raise ValueError(
                f"Teacher '{self.name}': declare `outputs` as 'logits', 'probabilities' or "
                "'values', for all outputs or in a dict by key; there is no model to read it from. "
                f"Received: outputs={outputs!r} for {unknown}"
            )

    @property
    def parameters(self) -> int:
        """0: there is no model."""
        return 0

    @property
    def output_names(self) -> list[str]:
        """The keys of its outputs."""
        return list(self.shapes)

    @property
    def inputs(self) -> ModelInputs:
        """The part of a batch that holds its outputs."""
        return ModelInputs(
            {key: keras.Input(batch_shape=shape, name=key) for key, shape in self.shapes.items()}
        )

    def declared(self, key: str) -> str:
        """Return what an output is declared as."""
        return declared_kind(self.outputs, key, self.output_names)

    def evidence(self) -> dict[str, Evidence]:
        """Return what is known of each of its outputs: its declaration."""
        return {
            key: Evidence(key, shape[-1], self.declared(key), None, ["unknown"])
            for key, shape in self.shapes.items()
        }

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Raise an error: the outputs are in the data, and no cache can hold them."""
        raise ValueError(
            f"Teacher '{self.name}' has precomputed outputs, so it cannot be stored in a "
            "KnowledgeCache or be used on the data of one. Pass the outputs in the batch: "
            f"{list(self.shapes)}"
        )

    def watch(self, taps: Sequence[Tap]) -> "WatchedPrecomputedTeacher":
        """Return a callable that maps a batch to a dict from tap to tensor.

        Raises:
            ValueError: If a tap is not an output.
        """
        return WatchedPrecomputedTeacher(self, taps)


class WatchedPrecomputedTeacher:
    """Precomputed outputs to return; made by `PrecomputedTeacher.watch`."""

    def __init__(self, teacher: PrecomputedTeacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        self._keys = {tap: _output_key(teacher, tap) for tap in taps}
        self.shapes = {tap: teacher.shapes[key] for tap, key in self._keys.items()}
        #: As for `TappedModel`.
        self.kinds = {tap: self._kind(tap) for tap in taps if tap.logits}
        self.activations = {
            tap: "sigmoid" if kind == "sigmoid" else None for tap, kind in self.kinds.items()
        }

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Return the outputs that a batch holds."""
        if not isinstance(x, dict):
            raise ValueError(
                f"Teacher '{self.teacher.name}' has precomputed outputs, so batches of x must be "
                f"dicts with the keys {self.teacher.output_names} and those of the student's "
                f"inputs. Received: x of type {type(x).__name__}"
            )
        outputs = self.teacher.inputs.select(x, f"Teacher '{self.teacher.name}'")
        return {tap: self._read(tap, outputs[key]) for tap, key in self._keys.items()}

    def _kind(self, tap: Tap) -> str:
        declared = self.teacher.declared(self._keys[tap])
        # A softmax of a single unit would be constant.
        single = declared == "probabilities" and self.shapes[tap][-1] == 1
        return "sigmoid" if single else declared

    def _read(self, tap: Tap, value: Any) -> Any:
        value, shape = ops.convert_to_tensor(value), self.shapes[tap]
        if len(value.shape) == len(shape) - 1 and shape[-1] == 1:
            value = ops.expand_dims(value, -1)  # As Keras treats inputs and labels.
        known = [size for size in zip(value.shape[1:], shape[1:], strict=False) if None not in size]
        if len(value.shape) != len(shape) or any(size != own for size, own in known):
            raise ValueError(
                f"Teacher '{self.teacher.name}' has outputs of shape {shape} under the key "
                f"'{self._keys[tap]}'. Received: shape {tuple(value.shape)}"
            )
        kind = self.kinds.get(tap, "values")
        if kind not in ("sigmoid", "probabilities"):
            return value
        log_p = log_probabilities(value)
        return log_odds(log_p) if kind == "sigmoid" else log_p


def _check_shapes(shapes: Any) -> None:
    valid = isinstance(shapes, Mapping) and bool(shapes)
    for key, shape in shapes.items() if valid else ():
        sizes = isinstance(shape, Sequence) and not isinstance(shape, str) and len(shape) > 0
        valid &= isinstance(key, str) and sizes and all(_is_size(size) for size in shape)
        valid &= sizes and shape[-1] is not None
    if not valid:
        raise ValueError(
            "Teacher.from_outputs: `shapes` must be a dict from the key of an output in the batch "
            "to its shape without the batch, such as {'teacher_logits': (10,)}. "
            f"Received: shapes={shapes!r}"
        )


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, int) and size > 0)


def _output_key(teacher: PrecomputedTeacher, tap: Tap) -> str:
    keys = teacher.output_names
    if tap.name is None and len(keys) == 1:
        return keys[0]
    if tap.name not in keys:
        raise ValueError(
            f"Teacher '{teacher.name}' has precomputed outputs, of which only {keys} can be "
            f"tapped. Choose one of them, or use the Keras model. Received: tap={tap}"
        )
    return tap.name
