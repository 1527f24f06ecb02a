"""The rule that prunes kernels gradually while they are trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_kd.compression.kernels import Kernel
from keras_kd.compression.sparsity_pattern import SparsityPattern
from keras_kd.training.weight_rule import mask_variable, nonzero

_MAX_FREQUENCY = 100  # Steps between two updates of the masks.


@dataclass(frozen=True)
class PruningSchedule:
    """When masks are updated, and to which sparsity: that of tensorflow-model-optimization.

    The sparsity before step t, counted from 1, is `target · (1 - (1 - t / end)³)`.

    Attributes:
        target: The sparsity at the end.
        frequency: Steps between two updates of the masks.
        end: The step of the last update.
    """

    target: float
    frequency: int
    end: int

    @classmethod
    def over(cls, target: float | None, steps: int) -> "PruningSchedule":
        """Return the schedule that reaches a target within some steps; `None` at once."""
        frequency = max(1, min(_MAX_FREQUENCY, steps // 10))
        # The last update must coincide with the last step, or the target is not reached.
        end = steps // frequency * frequency
        return cls(target or 0.0, 1, 1) if target is None else cls(target, frequency, end)

    def is_due(self, step: Any) -> Any:
        """Return whether the masks are updated before a step."""
        return ops.logical_and(step <= self.end, ops.equal(step % self.frequency, 0))

    def sparsity(self, step: Any) -> Any:
        """Return the sparsity before a step."""
        progress = ops.cast(step, "float32") / self.end
        return -self.target * (1 - progress) ** 3 + self.target


class GradualPruning(keras.layers.Layer):
    """Prunes kernels between the steps of a training, and keeps their zeros.

    Args:
        kernels: The kernels.
        pattern: Which weights become zero together.
        schedule: When they become zero.
    """

    def __init__(
        self, kernels: Sequence[Kernel], pattern: SparsityPattern, schedule: PruningSchedule
    ) -> None:
        super().__init__(name="gradual_pruning", autocast=False)
        self.pattern, self.schedule = pattern, schedule
        # In a function, so that Keras does not take the kernels for weights of this layer.
        self._kernels: Callable[[], Sequence[Kernel]] = lambda: kernels
        self.steps = self.add_weight((), "zeros", "int32", trainable=False, name="steps")
        self.built = True

    @property
    def done(self) -> bool:
        """Whether the last update of the masks is over."""
        return int(self.steps) + 1 >= self.schedule.end

    def start(self) -> None:
        """Prune before the first step, if the schedule starts there."""
        if bool(self.schedule.is_due(ops.convert_to_tensor(1))):
            self._mask(self._new_masks(1))

    def update(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
        apply: Callable[[Sequence[Any]], None],
    ) -> None:
        """Run one update; see `WeightRule`."""
        # Before the first update of the masks, weights may be zero for other reasons.
        untouched = self.steps + 1 < self.schedule.frequency
        kept = [ops.logical_or(untouched, nonzero(kernel.variable)) for kernel in self._kernels()]
        apply(gradients)
        self.steps.assign_add(1)
        following = self.steps + 1
        due = self.schedule.is_due(following)
        self._mask(ops.cond(due, lambda: self._new_masks(following), lambda: kept))

    def _new_masks(self, step: Any) -> list[Any]:
        sparsity = self.schedule.sparsity(step)
        return [
            self.pattern.mask(kernel, ops.convert_to_tensor(kernel.variable), sparsity)
            for kernel in self._kernels()
        ]

    def _mask(self, masks: Sequence[Any]) -> None:
        for kernel, mask in zip(self._kernels(), masks, strict=True):
            mask_variable(kernel.variable, mask)
