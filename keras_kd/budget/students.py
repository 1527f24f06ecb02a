"""The students of a search: shrunk from the teacher, scaled like it, or made by the user."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_kd.budget.schedule import Config
from keras_kd.compression.channel_allocation import ChannelAllocation
from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.residual_blocks import find_blocks
from keras_kd.compression.shrink import shrink
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import require_built
from keras_kd.models.keras_compat import fresh_names

Builder = Callable[[Any], keras.Model]

#: By family of shrunk students: how balanced the allocation is, whether the weights are kept, and
#: the share of residual blocks.
_SHRUNK = {
    "shrunk, half balanced": (0.5, True, 1.0),
    "shrunk, balanced": (1.0, True, 1.0),
    "scaled, half balanced": (0.5, False, 1.0),
    "shrunk, even": (0.0, True, 1.0),
    "scaled, balanced": (1.0, False, 1.0),
    "shrunk, half the blocks": (0.5, True, 0.5),
}


class Students:
    """The students of a search, by family.

    Args:
        teacher: The teacher.
        own: Models and builders of the user's; a builder gets an `optuna.Trial`.

    Raises:
        TypeError: If one is neither.
        ValueError: If the teacher cannot be shrunk, and there are no others.
    """

    def __init__(self, teacher: keras.Model, own: Sequence[keras.Model | Builder] = ()) -> None:
        for student in own:
            if isinstance(student, keras.Model):
                require_built(student, "A student")
            elif not callable(student):
                raise TypeError(
                    "`students` must be Keras models, or functions of an optuna.Trial that return "
                    f"one. Received: {student!r} (of type {type(student).__name__})"
                )
        self._own = {f"students[{i}]": student for i, student in enumerate(own)}
        self._teacher = teacher
        self._solved: dict[Any, Mapping[str, float] | None] = {}
        try:
            self._allocations = {1.0: ChannelAllocation(teacher)}
        except ValueError as error:
            if not own:
                raise ValueError(
                    "The teacher cannot be shrunk: pass `students`, models or functions that "
                    f"return one. {error}"
                ) from error
            self._allocations = {}
        if self._allocations and find_blocks(channel_groups(teacher).graph):
            shallow = shrink(teacher, 1.0, depth=0.5).model
            self._shallow, self._allocations[0.5] = shallow, ChannelAllocation(shallow)

    @property
    def families(self) -> list[str]:
        """The names of the families, those of the user first."""
        return [
            *self._own,
            *(f for f, (_, _, depth) in _SHRUNK.items() if depth in self._allocations),
        ]

    def is_shrunk(self, family: str) -> bool:
        """Whether the size of a family's students follows the limits."""
        return family in _SHRUNK

    def is_trained(self, family: str) -> bool:
        """Whether a family's students start from weights of the teacher."""
        return family in _SHRUNK and _SHRUNK[family][1]

    def builds(self, family: str) -> bool:
        """Whether a family is a function of the user's."""
        return family in self._own and not isinstance(self._own[family], keras.Model)

    def least(self, unit: str) -> float:
        """Return the least `int8_bytes`, `macs` or `parameters` of a shrunk student."""
        shrunk = [self.least_of(f, unit) for f in self.families if self.is_shrunk(f)]
        return min(size for size in shrunk if size is not None)

    def size(self, family: str, limits: Mapping[str, float]) -> Any:
        """Return the predicted size of a shrunk student, `None` if none is within the limits."""
        allocation, shares = self._allocations[_SHRUNK[family][2]], self._shares(family, limits)
        return None if shares is None else allocation.size(shares)

    def build(self, config: Config, trial: Any, seed: int) -> keras.Model | None:
        """Return a student, always the same for the same arguments.

        Returns:
            The student; `None` if no shrunk one is within the limits.
        """
        keras.utils.set_random_seed(seed)
        with fresh_names():  # Names of layers are part of a file.
            if config.family in self._own:
                return self._build_own(self._own[config.family], trial)
            _, trained, depth = _SHRUNK[config.family]
            shares = self._shares(config.family, config.limits)
            if shares is None:
                return None
            base = self._teacher if depth == 1 else self._shallow
            student = shrink(base, dict(shares)).model
            return student if trained else keras.models.clone_model(student)

    def least_of(self, family: str, unit: str) -> float:
        """Return the least size of a family's students."""
        allocation = self._allocations[_SHRUNK[family][2]]
        return getattr(allocation.size(allocation.least), unit)

    def _shares(self, family: str, limits: Mapping[str, float]) -> Mapping[str, float] | None:
        balance, _, depth = _SHRUNK[family]
        key = (balance, depth, tuple(sorted(limits.items())))
        if key not in self._solved:
            self._solved[key] = self._allocations[depth].solve(limits, balance)
        return self._solved[key]

    def _build_own(self, student: keras.Model | Builder, trial: Any) -> keras.Model:
        if isinstance(student, keras.Model):
            return copy_model(student)
        built = student(trial)
        if not isinstance(built, keras.Model):
            raise TypeError(
                f"A function in `students` must return a keras.Model. Received: {built!r} (of type "
                f"{type(built).__name__})"
            )
        require_built(built, "A student")
        return built
