"""What the teachers say of one batch."""

from dataclasses import dataclass, field
from typing import Any

from keras_kd.models.taps import Tap


@dataclass(frozen=True)
class Knowledge:
    """Outputs of every teacher at every tap, and how much each teacher counts.

    Attributes:
        outputs: For each teacher a dict from tap to tensor (batch, ...).
        weights: (teachers, batch), summing to 1 over the teachers; `None` for a single teacher.
        blended: For the taps at which the teachers speak with one voice: their blended logits
            (batch, ..., classes). A loss at such a tap is taken once and not for each teacher.
    """

    outputs: tuple[dict[Tap, Any], ...] = ()
    weights: Any = None
    combined: dict[Tap, Any] = field(default_factory=dict)
