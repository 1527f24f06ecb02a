"""All the teachers at work on one batch."""

from collections.abc import Sequence
from typing import Any

from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.teacher import Teacher


class Committee:
    """Several teachers that are asked together.

    Args:
        teachers: The teachers.
        taps: The places that each of them is asked about.

    Raises:
        ValueError: When a teacher does not have one of the taps.
    """

    def __init__(self, teachers: Sequence[Teacher], taps: Sequence[Tap]) -> None:
        self.teachers = tuple(teachers)
        self.members = tuple(teacher.watch(taps) for teacher in teachers) if taps else ()

    def __call__(self, x: Any) -> Knowledge:
        """Runs each teacher once.

        Args:
            x: A batch, as the student gets it.

        Returns:
            The `Knowledge` of this batch.
        """
        return Knowledge(outputs=tuple(member(x) for member in self.members))
