"""How many channels each group keeps within limits: evenly, or so that all groups cost the same."""

import math
from collections.abc import Mapping

import keras

from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.channel_importance import magnitude_scores
from keras_kd.compression.channel_surgery import Removal
from keras_kd.compression.model_size import ModelSize, predict_size
from keras_kd.compression.shrink import select_units

Shares = Mapping[str, float]

_ROUNDS, _BISECTIONS, _LAST_BISECTIONS = 4, 12, 24
#: The part of its channels that a group loses when its cost is measured.
_STEP = 0.2


class ChannelAllocation:
    """The channels that remain of a model within limits.

    With one share for all groups, a wide dense layer takes most of a small budget, because its cost
    is the product of two widths. The balanced allocation instead gives each group channels until
    all groups have the same cost: it maximizes the product of the widths.

    Args:
        model: A built Functional or Sequential model.

    Raises:
        ValueError: If no channels can be removed.
    """

    def __init__(self, model: keras.Model) -> None:
        self._found = channel_groups(model)
        self._weights = model.weights
        self._scores = magnitude_scores(self._found)
        self._names = [group.name for group in self._found.groups]
        if not self._names:
            raise ValueError(
                f"'{model.name}' has no channels that can be removed. Its channels:\n{self._found}"
            )

    @property
    def least(self) -> Shares:
        """The shares with one channel in each group."""
        return {group.name: 1 / len(group) for group in self._found.groups}

    def size(self, shares: Shares) -> ModelSize:
        """Return the size of the model that remains."""
        removal = Removal(self._found, select_units(self._found.groups, self._scores, shares))
        return predict_size(self._found.graph, self._weights, removal.shape)

    def solve(self, limits: Mapping[str, float], balance: float) -> Shares | None:
        """Return the largest shares within the limits, `None` if one channel each is too much.

        Args:
            limits: The largest `int8_bytes`, `macs` or `parameters`, by attribute of `ModelSize`.
            balance: 0 for the same share everywhere, 1 for the same cost of each group, or between.

        Raises:
            ValueError: If a size is unknown, because a shape is.
        """
        if not self._fits(self.least, limits):
            return None
        whole = dict.fromkeys(self._names, 1.0)
        if self._fits(whole, limits):
            return whole
        even = self._scale(whole, limits, _LAST_BISECTIONS)
        if balance == 0 or len(self._names) == 1:
            return even
        # One limit is the tighter one; costs are measured in its unit.
        unit = max(limits, key=lambda name: getattr(self.size(whole), name) / limits[name])
        balanced = even
        for _ in range(_ROUNDS):
            costs = self._costs(balanced, unit)
            mean = math.exp(sum(map(math.log, costs.values())) / len(costs))
            # A cost is about quadratic in the widths.
            weights = {name: balanced[name] * (mean / costs[name]) ** 0.5 for name in self._names}
            balanced = self._scale(weights, limits, _BISECTIONS)
        mixed = {name: even[name] ** (1 - balance) * balanced[name] ** balance for name in even}
        return self._scale(mixed, limits, _LAST_BISECTIONS)

    def _fits(self, shares: Shares, limits: Mapping[str, float]) -> bool:
        size = self.size(shares)
        for name, limit in limits.items():
            value = getattr(size, name)
            if value is None:
                raise ValueError(
                    f"The {name} of the model are unknown, because it leaves a size of its input "
                    "open. Build it with a fixed input shape."
                )
            if value > limit:
                return False
        return True

    def _costs(self, shares: Shares, unit: str) -> dict[str, float]:
        """Return what each group costs: how much the size changes with its width."""
        whole = getattr(self.size(shares), unit)
        smaller = {name: {**shares, name: shares[name] * (1 - _STEP)} for name in self._names}
        return {
            name: max(1.0, float(whole - getattr(self.size(less), unit)))
            for name, less in smaller.items()
        }

    def _scale(self, weights: Shares, limits: Mapping[str, float], bisections: int) -> Shares:
        """Return the largest multiple of the weights within the limits, at most 1 each."""
        low, high = 0.0, 1 / min(weights.values())

        def multiply(factor: float) -> Shares:
            return {n: min(1.0, max(factor * w, self.least[n])) for n, w in weights.items()}

        for _ in range(bisections):
            middle = (low + high) / 2
            low, high = (middle, high) if self._fits(multiply(middle), limits) else (low, middle)
        return multiply(low)
