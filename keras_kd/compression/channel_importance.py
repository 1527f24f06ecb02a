"""How much each channel of a model matters."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.compression.channel_groups import ChannelGroups
from keras_kd.compression.channel_tracer import Slot
from keras_kd.compression.training import Training
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import Graph
from keras_kd.models.keras_compat import nested_layers

IMPORTANCES = ("magnitude", "taylor", "random")


def magnitude_scores(found: ChannelGroups) -> dict[int, float]:
    """Return what the weights of each unit say about its importance.

    It is the size of its scale in normalizations, and the distance of its kernel from the kernels
    of the other units, where no normalization follows: a normalization cancels the size of the
    kernel before it. Kernels that read a channel do not count: where it is small, they are often
    large. Each value is relative to the mean of its layer; those of coupled layers are added.

    Reference:
        Scales: Liu et al. 2017, arXiv:1708.06519. Distances: He et al. 2019, arXiv:1811.00250.
    """
    scores: dict[int, float] = {}
    for slot in _sized_slots(found):
        value = np.moveaxis(ops.convert_to_numpy(slot.variable).astype("float64"), slot.axis, 0)
        sizes = np.abs(value) if value.ndim == 1 else _distances(value.reshape(len(value), -1))
        mean = sizes.mean()
        for unit, size in zip(found.tracer.roots(slot.channels), sizes, strict=True):
            scores[int(unit)] = scores.get(int(unit), 0.0) + float(size / mean if mean else 0.0)
    return scores


def _distances(kernels: np.ndarray) -> np.ndarray:
    """Return the sum of the Euclidean distances of each row from the others and from zero.

    A row of zeros has none, because its unit is a constant.
    """
    squares = np.square(kernels).sum(axis=1)
    between = squares[:, None] + squares - 2 * kernels @ kernels.T
    sums = np.sqrt(np.maximum(between, 0)).sum(axis=1) + np.sqrt(squares)
    return np.where(squares > 0, sums, 0)


def _sized_slots(found: ChannelGroups) -> list[Slot]:
    """Return the scales of normalizations, and the kernels without one after them."""
    scales = [slot for slot in found.tracer.slots if slot.variable.name == "gamma"]
    scaled = {unit for slot in scales for unit in found.tracer.roots(slot.channels).tolist()}
    normalized = _normalized_layers(found.graph)

    def counts(slot: Slot) -> bool:
        if slot.role != "out" or len(slot.variable.shape) == 1:
            return False
        # The heads of an attention have no scale.
        own = scaled.intersection(found.tracer.roots(slot.channels).tolist())
        return not own or slot.path not in normalized

    return [*scales, *filter(counts, found.tracer.slots)]


def _normalized_layers(graph: Graph) -> set[str]:
    """Return the layers whose outputs go to a normalization that scales them."""
    paths = set()
    for call in (call for calls in graph.calls.values() for call in calls):
        if isinstance(call.layer, keras.layers.BatchNormalization) and call.layer.scale:
            maker = graph.maker(call.inputs[0])
            while maker is not None and len(maker.inputs) == 1 and not _has_weights(maker.layer):
                maker = graph.maker(maker.inputs[0])
            if maker is not None:
                paths.add(maker.path)
    return paths


def _has_weights(layer: Any) -> bool:
    return bool(getattr(layer, "weights", ()))


def random_scores(found: ChannelGroups, seed: int) -> dict[int, float]:
    """Return random scores."""
    rng = np.random.default_rng(seed)
    return {unit: float(rng.random()) for group in found.groups for unit in group.units}


def taylor_scores(model: keras.Model, found: ChannelGroups, plan: Training) -> dict[int, float]:
    """Return the squared change of the loss that removing each unit causes, to first order.

    A copy of the model runs over the data, with the loss of a training but without updates. Its
    normalizations keep their statistics: those of a batch hide how large a channel is.

    Args:
        model: The model.
        found: Its channels.
        plan: The data and the loss.

    Reference:
        Molchanov et al. 2019, arXiv:1906.10771.
    """
    copy = copy_model(model)
    for layer in nested_layers(copy):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    variables = dict(zip(map(id, model.weights), copy.weights, strict=True))
    rule = TaylorScores(found, variables)
    trainable = {id(variable) for variable in copy.trainable_variables}
    if not any(id(variables[id(slot.variable)]) in trainable for slot in rule.slots):
        raise ValueError(f"importance='taylor' needs gradients, and '{model.name}' is frozen.")
    plan.distill(copy, rule)
    return dict(zip(rule.units, ops.convert_to_numpy(rule.scores).tolist(), strict=True))


class TaylorScores(keras.layers.Layer):
    """A rule that changes no weights, and sums up how much the loss depends on each unit.

    The output of a unit is what its readers multiply with their weights, so the derivative by a
    factor before it is the sum of gradient times weight over these weights.

    Args:
        found: The channels of a model.
        variables: By the id of a weight, the weight that is trained in its place.
    """

    def __init__(self, found: ChannelGroups, variables: dict[int, keras.Variable]) -> None:
        super().__init__(name="taylor_scores", autocast=False)
        self.units = [unit for group in found.groups for unit in group.units]
        places = {unit: place for place, unit in enumerate(self.units)}
        self.slots = tuple(slot for slot in found.tracer.slots if slot.role == "in")
        # One more place, for what cannot be removed.
        last = len(self.units)
        numbers = [
            np.array([places.get(int(u), last) for u in found.tracer.roots(s.channels)], "int32")
            for s in self.slots
        ]
        trained = [variables[id(slot.variable)] for slot in self.slots]
        # In a function, so that Keras does not take the weights for weights of this layer.
        self._parts: Callable[[], Any] = lambda: zip(self.slots, trained, numbers, strict=True)
        self.scores = self.add_weight((last,), "zeros", "float32", trainable=False, name="scores")
        self.built = True

    def update(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
        apply: Callable[[Sequence[Any]], None],
    ) -> None:
        """Add the scores of a batch; see `WeightRule`."""
        by_id = {id(v): g for v, g in zip(variables, gradients, strict=True)}
        count = len(self.units) + 1
        total = ops.zeros((count,), "float32")
        for slot, variable, numbers in self._parts():
            gradient = by_id.get(id(variable))
            if gradient is None:
                continue
            product = ops.convert_to_tensor(gradient, sparse=False) * variable
            sums = ops.cast(ops.sum(product, axis=_others(slot)), "float32")
            total = total + ops.segment_sum(sums, ops.convert_to_tensor(numbers), count)
        self.scores.assign_add(ops.square(total)[:-1])


def _others(slot: Slot) -> tuple[int, ...]:
    """Return the other axes of the weight of a slot."""
    return tuple(axis for axis in range(len(slot.variable.shape)) if axis != slot.axis)
