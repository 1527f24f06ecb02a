"""What the teachers say of one batch."""

from dataclasses import dataclass
from typing import Any

from keras_kd.models.taps import Tap


@dataclass(frozen=True)
class Knowledge:
    """Outputs of every teacher at every tap, and how much each teacher counts.

    Attributes:
        outputs: For each teacher a dict from tap to tensor (batch, ...).
        weights: (teachers, batch), summing to 1 over the teachers; `None` for a single teacher.
    """

    outputs: tuple[dict[Tap, Any], ...]
    weights: Any = None
