"""The rule that lets the weights of kernels share a few trained values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.compression.kernels import Kernel
from keras_kd.training.weight_rule import mask_variable, nonzero

#: Initializations of the values.
INITIALIZATIONS = ("kmeans++", "density", "linear", "random")
_SEED, _KMEANS_STEPS = 9, 10


@dataclass(frozen=True)
class Clustering:
    """How one kernel is clustered.

    Attributes:
        kernel: The kernel.
        clusters: Number of values, including zero if zeros are preserved.
        start: One of `INITIALIZATIONS`.
        preserve_zeros: Whether zeros stay zero.
        per_channel: Whether each output channel has its own values.
    """

    kernel: Kernel
    clusters: int
    start: str
    preserve_zeros: bool
    per_channel: bool

    def rows(self, weights: Any) -> Any:
        """Return weights as a matrix; those of a row share their values."""
        order, count = self._order()
        return ops.reshape(ops.transpose(weights, order), (count, -1))

    def from_rows(self, rows: Any) -> Any:
        """Return a matrix of rows as weights."""
        order, _ = self._order()
        shape = [self.kernel.variable.shape[axis] for axis in order]
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return ops.transpose(ops.reshape(rows, shape), inverse)

    def first_values(self) -> np.ndarray:
        """Return the first values of each row, without zero if zeros are preserved."""
        rows = ops.convert_to_numpy(self.rows(ops.convert_to_tensor(self.kernel.variable)))
        return np.stack([self._first_values(row.astype("float64")) for row in rows])

    def _first_values(self, row: np.ndarray) -> np.ndarray:
        if not self.preserve_zeros:
            return _INITIALIZE[self.start](row, self.clusters)
        negative, positive = row[row < 0], row[row > 0]
        below = round((self.clusters - 1) * negative.size / (negative.size + positive.size))
        parts = ((negative, below), (positive, self.clusters - 1 - below))
        return np.concatenate([_INITIALIZE[self.start](part, n) for part, n in parts if n])

    def _order(self) -> tuple[list[int], int]:
        """Return the axes of the kernel, those of the rows first, and the number of rows."""
        shape = self.kernel.variable.shape
        first = list(self.kernel.outputs) if self.per_channel else []
        rest = [axis for axis in range(len(shape)) if axis not in first]
        return [*first, *rest], math.prod(shape[axis] for axis in first)


class TrainedClusters(keras.layers.Layer):
    """Trains both the values of each kernel and the assignment of weights to values.

    As in tensorflow-model-optimization, the gradient of a value is the sum over its weights, and
    each weight has an original, which gets the gradient of its value and decides which value is
    nearest. The student's kernels hold the values; the optimizer changes the originals instead.

    Args:
        clusterings: How the kernels are clustered.
    """

    def __init__(self, clusterings: Sequence[Clustering]) -> None:
        super().__init__(name="trained_clusters", autocast=False)
        # In a function, so that Keras does not take the kernels for weights of this layer.
        self._clusterings: Callable[[], Sequence[Clustering]] = lambda: clusterings
        self.originals, self.centroids = [], []
        for i, one in enumerate(clusterings):
            values, variable = one.first_values(), one.kernel.variable
            self.originals.append(
                self.add_weight(variable.shape, "zeros", variable.dtype, name=f"original_{i}")
            )
            self.centroids.append(
                self.add_weight(values.shape, "zeros", variable.dtype, name=f"centroids_{i}")
            )
            self.originals[-1].assign(variable)
            self.centroids[-1].assign(values)
        self.built = True

    def start(self) -> None:
        """Set the kernels to their first values."""
        for one, original, centroids in self._parts():
            self._assign_values(one, original, centroids)

    def update(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
        apply: Callable[[Sequence[Any]], None],
    ) -> None:
        """Run one update; see `WeightRule`."""
        gradients, masks = list(gradients), []
        places = {id(variable): place for place, variable in enumerate(variables)}
        for one, original, centroids in self._parts():
            masks.append(nonzero(original) if one.preserve_zeros else None)
            gradient = gradients[places[id(one.kernel.variable)]]
            if gradient is None:
                continue
            gradient = ops.convert_to_tensor(gradient, sparse=False)
            gradients[places[id(original)]] = gradient
            gradients[places[id(centroids)]] = _sum_by_value(
                one, original, centroids, gradient, masks[-1]
            )
            # The optimizer must not see a variable without a gradient.
            gradients[places[id(one.kernel.variable)]] = ops.zeros_like(gradient)
        apply(gradients)
        for mask, (one, original, centroids) in zip(masks, self._parts(), strict=True):
            if mask is not None:
                mask_variable(original, mask)
            self._assign_values(one, original, centroids)

    def count_values(self) -> int:
        """Return the largest number of different values in a kernel, or in one of its channels."""
        rows = (one.rows(ops.convert_to_tensor(one.kernel.variable)) for one, *_ in self._parts())
        return max(len(np.unique(row)) for each in rows for row in ops.convert_to_numpy(each))

    def _parts(self) -> list[tuple[Clustering, keras.Variable, keras.Variable]]:
        return list(zip(self._clusterings(), self.originals, self.centroids, strict=True))

    def _assign_values(
        self, one: Clustering, original: keras.Variable, centroids: keras.Variable
    ) -> None:
        """Set a kernel to the value that is nearest to each original weight."""
        weights = ops.convert_to_tensor(original)
        ordered = ops.sort(ops.convert_to_tensor(centroids), axis=1)
        values = ops.take_along_axis(ordered, _ranks(one.rows(weights), ordered), axis=1)
        one.kernel.variable.assign(one.from_rows(values))
        if one.preserve_zeros:
            mask_variable(one.kernel.variable, ops.not_equal(weights, 0))


def _ranks(rows: Any, ordered: Any) -> Any:
    """Return which of the ordered values is nearest to each weight of each row."""
    middles = (ordered[:, 1:] + ordered[:, :-1]) / 2
    ranks = ops.zeros_like(rows, dtype="int32")
    for i in range(middles.shape[1]):
        ranks = ranks + ops.cast(rows > middles[:, i : i + 1], "int32")
    return ranks


def _sum_by_value(one: Clustering, original: Any, centroids: Any, gradient: Any, mask: Any) -> Any:
    """Return the gradient of the values: the sum of those of their weights."""
    values = ops.convert_to_tensor(centroids)
    order = ops.argsort(values, axis=1)
    ordered = ops.take_along_axis(values, order, axis=1)
    ranks = _ranks(one.rows(ops.convert_to_tensor(original)), ordered)
    places = ops.take_along_axis(order, ranks, axis=1)
    number, length = values.shape
    places = places + length * ops.reshape(ops.arange(number, dtype=places.dtype), (-1, 1))
    if mask is not None:
        gradient = ops.where(mask, gradient, ops.zeros((), gradient.dtype))
    flat = [ops.reshape(part, (-1,)) for part in (one.rows(gradient), places)]
    return ops.reshape(ops.segment_sum(*flat, num_segments=number * length), values.shape)


def _kmeans(weights: np.ndarray, clusters: int) -> np.ndarray:
    """Return values that are chosen by k-means++, and improved by some steps of k-means."""
    rng = np.random.default_rng(_SEED)
    values = [rng.choice(weights)]
    distances = np.square(weights - values[0])
    for _ in range(clusters - 1):
        total = distances.sum()
        chances = distances / total if total else None
        values.append(rng.choice(weights, p=chances))
        distances = np.minimum(distances, np.square(weights - values[-1]))
    values = np.sort(values)
    for _ in range(_KMEANS_STEPS):
        places = np.searchsorted((values[1:] + values[:-1]) / 2, weights)
        sums = np.bincount(places, weights, clusters)
        counts = np.bincount(places, minlength=clusters)
        values = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), values))
    return values


def _density(weights: np.ndarray, clusters: int) -> np.ndarray:
    """Return quantiles of the weights."""
    return np.quantile(weights, np.linspace(0.01, 1, clusters))


def _linear(weights: np.ndarray, clusters: int) -> np.ndarray:
    """Return evenly spaced values."""
    return np.linspace(weights.min(), weights.max(), clusters)


def _random(weights: np.ndarray, clusters: int) -> np.ndarray:
    """Return values drawn between the smallest and the largest weight."""
    return np.random.default_rng(_SEED).uniform(weights.min(), weights.max(), clusters)


_INITIALIZE = dict(zip(INITIALIZATIONS, (_kmeans, _density, _linear, _random), strict=True))
