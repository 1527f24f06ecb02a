"""A teacher in an ensemble: its logits in the form of the student's."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_kd.models.keras_compat import copy_mask
from keras_kd.models.logits import log_odds
from keras_kd.models.taps import Tap
from keras_kd.teachers.class_map import ClassMap

#: Kinds of which two units may be the classes of a yes-or-no question.
_CLASSES = ("logits", "softmax", "probabilities")


class Member:
    """A watched teacher, and the conversion of its logits to the form of the student's.

    - Classes that the student does not have are dropped, and the others put in its order: the
      softmax over the remaining logits is the teacher's distribution among these classes.
    - One logit z of a yes-or-no question becomes the two logits (0, z) of its classes, and two
      logits (a, b) become b − a, whichever the student has.
    - Log-probabilities of an activation that is not visible become log-odds if they are read as
      those of a sigmoid.

    Args:
        watched: The result of `BaseTeacher.watch`.
        class_map: Its classes among those of the student.
        units: By tap of logits, the number of units of the student's output there, if it may be
            converted to. Defaults to none.

    Attributes:
        teacher: The teacher.
        shapes: Shapes by tap, after the conversion.
        kinds: Kinds by tap as for `TappedModel`, after the conversion.
        activations: Activations by tap, after the conversion.
        sigmoids: Taps that are read as a sigmoid, not as a softmax.

    Raises:
        ValueError: If `classes` of the teacher does not fit its outputs.
    """

    def __init__(
        self, watched: Any, class_map: ClassMap, units: Mapping[Tap, int] | None = None
    ) -> None:
        self.teacher = watched.teacher
        self.shapes, self.kinds = dict(watched.shapes), dict(watched.kinds)
        self.activations = dict(watched.activations)
        self.sigmoids: set[Tap] = set()
        self._watched, self._class_map = watched, class_map
        self._binary: dict[Tap, int] = {}
        for tap in self.kinds:
            self._choose_classes(tap)
            self._match_units(tap, (units or {}).get(tap))

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Run the teacher once; its outputs are not converted."""
        return self._watched(x)

    def convert(self, outputs: Mapping[Tap, Any]) -> dict[Tap, Any]:
        """Return outputs of the teacher, live or stored, in the form of the student's."""
        return {
            tap: copy_mask(value, self._convert(tap, value)) if tap in self.kinds else value
            for tap, value in outputs.items()
        }

    def require_unconverted(self, tap: Tap) -> None:
        """Reject a conversion between one and two units, which is for yes-or-no questions.

        Raises:
            ValueError: If the units at a tap are converted.
        """
        if tap in self._binary:
            raise ValueError(
                f"Teacher '{self.teacher.name}' has outputs of shape {self._watched.shapes[tap]} "
                f"and the student of shape {self.shapes[tap]}. One unit and two match for a "
                "yes-or-no question only, not for numbers (regression). Give the student as many "
                "outputs as the teacher has."
            )

    def _convert(self, tap: Tap, logits: Any) -> Any:
        if self._watched.kinds[tap] == "probabilities" and tap in self.sigmoids:
            logits = log_odds(logits)
        if self._class_map.kept is not None:
            kept = ops.convert_to_tensor(list(self._class_map.kept), dtype="int32")
            logits = ops.take(logits, kept, axis=-1)
        if self._binary.get(tap) == 2:
            return as_two_classes(logits)
        return logits[..., 1:] - logits[..., :1] if self._binary.get(tap) == 1 else logits

    def _choose_classes(self, tap: Tap) -> None:
        classes, shape = self.teacher.classes, self.shapes[tap]
        if classes is None:
            return
        if len(classes) != shape[-1]:
            raise ValueError(
                f"Teacher '{self.teacher.name}' has {shape[-1]} outputs, so `classes` must have "
                f"{shape[-1]} entries: the student's class of each, or None for a class that the "
                f"student does not have. Received: classes={classes}"
            )
        kept = self._class_map.kept
        if kept is None:
            return
        if len(kept) == 1 and self.activations[tap] != "sigmoid":
            raise ValueError(
                f"Teacher '{self.teacher.name}' must have two of the student's classes or more, to "
                f"tell them apart. Received: classes={classes}"
            )
        self.shapes[tap] = (*shape[:-1], len(kept))

    def _match_units(self, tap: Tap, units: int | None) -> None:
        """Convert between one and two units of a yes-or-no question."""
        kind, shape = self.kinds[tap], self.shapes[tap]
        one_to_two = (shape[-1], units) == (1, 2) and kind in ("logits", "sigmoid")
        two_to_one = (shape[-1], units) == (2, 1) and kind in _CLASSES
        if self._class_map.columns is None and (one_to_two or two_to_one):
            self._binary[tap] = units
            self.shapes[tap] = (*shape[:-1], units)
            self.kinds[tap] = self.activations[tap] = "softmax" if units == 2 else "sigmoid"


def as_two_classes(logits: Any) -> Any:
    """Return the logits (batch, ..., 2) of no and yes from those of a sigmoid (batch, ..., 1)."""
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
