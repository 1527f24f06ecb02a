"""The outputs of several students in one model, and values of them by student."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class StudentOutputs:
    """The names of the outputs of several students in one model.

    A student's only output has the name of the student; one of several is `STUDENT_OUTPUT`. What is
    given by output, such as labels, is the same for each student.

    Args:
        outputs: The names of each student's outputs, by the student's name.

    Raises:
        ValueError: If one student has other outputs than another, or two names would be equal.

    Attributes:
        names: The names, student by student.
    """

    def __init__(self, outputs: Mapping[str, Sequence[str]]) -> None:
        self.several = max(map(len, outputs.values())) > 1
        own = {student: list(names) for student, names in outputs.items()}
        if self.several and len({frozenset(names) for names in own.values()}) > 1:
            raise ValueError(
                "MutualLearning: the students must have the same outputs, or one output each. "
                f"Received: {own}. Give the outputs (or their layers) the same names."
            )
        self._places = [
            (f"{student}_{name}" if self.several else student, student, name)
            for student, names in own.items()
            for name in names
        ]
        self.names = [joined for joined, _, _ in self._places]
        if len(set(self.names)) < len(self.names):
            raise ValueError(
                "MutualLearning: the names of students and outputs, joined, must be unique. "
                f"Received: {self.names}"
            )
        self._outputs = next(iter(own.values()))

    def for_each(self, values: Any, make: Callable[[Any], Any] = lambda value: value) -> Any:
        """Return values by the names in the joined model from values by output.

        Args:
            values: One for all outputs; of students with several outputs also a dict or a list by
                output. What is by the names in the joined model is returned unchanged.
            make: Makes the value of one student from a value. Defaults to the value itself.

        Raises:
            ValueError: If a dict has other keys.
        """
        if not self.several or values is None:
            return values
        if isinstance(values, (list, tuple)) and len(values) == len(self._outputs):
            values = dict(zip(self._outputs, values, strict=True))
        if not isinstance(values, Mapping) or set(values) <= set(self.names):
            return values
        unknown = sorted(set(values) - set(self._outputs))
        if unknown:
            raise ValueError(
                f"MutualLearning: expected the keys {self._outputs}, for each student, or "
                f"{self.names}. Received: the keys {unknown}"
            )
        return {joined: make(values[name]) for joined, _, name in self._places if name in values}

    def of_student(self, student: str, values: Any) -> Any:
        """Return the part of one student of values by the names in the joined model.

        Returns:
            The value of its only output, or a dict by output; one value for all unchanged.
        """
        if not isinstance(values, Mapping):
            return values
        own = {
            name: values[joined]
            for joined, owner, name in self._places
            if owner == student and joined in values
        }
        return own if self.several else next(iter(own.values()), None)

    def find(self, joined: str) -> tuple[str, str]:
        """Return the student and its output of a name in the joined model."""
        return next((student, name) for one, student, name in self._places if one == joined)
