"""Pruning wrappers and schedules of tensorflow-model-optimization."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_kd.compression.tfmot.converted_model import ConvertedModel
from keras_kd.compression.tfmot.imports import import_tf_keras, import_tfmot

_MAX_FREQUENCY = 100  # Steps between two updates of the masks.


@dataclass(frozen=True)
class PrunedModel:
    """A tf_keras model with layers that are wrapped for pruning.

    Attributes:
        model: The tf_keras model.
        wrappers: Its pruning wrappers.
    """

    model: Any
    wrappers: list[Any]

    @property
    def weights(self) -> list[np.ndarray]:
        """The pruned weights."""
        variables = [w for wrapper in self.wrappers for w, _, _ in wrapper.pruning_vars]
        return [variable.numpy() for variable in variables]

    def apply_masks(self) -> None:
        """Set the pruned weights to zero again after an optimizer step."""
        for wrapper in self.wrappers:
            wrapper.pruning_obj.weight_mask_op()

    @tf.autograph.experimental.do_not_convert
    def strip(self) -> Any:
        """Return the tf_keras model without the wrappers."""
        return import_tfmot().sparsity.keras.strip_pruning(self.model)


@tf.autograph.experimental.do_not_convert
def wrap_for_pruning(
    converted: ConvertedModel,
    names: Collection[str],
    options: dict[str, Any],
    make_schedule: Callable[[int], Any],
) -> PrunedModel:
    """Wrap the named layers of a converted model for pruning."""
    tfmot = import_tfmot()
    wrappers = []

    def wrap_layer(layer: Any) -> Any:
        if layer.name not in names:
            return layer
        schedule = make_schedule(len(layer.inbound_nodes))
        wrappers.append(tfmot.sparsity.keras.prune_low_magnitude(layer, schedule, **options))
        return wrappers[-1]

    model = import_tf_keras().models.clone_model(converted.flat, clone_function=wrap_layer)
    for wrapper in wrappers:
        wrapper.pruning_step.assign(0)
    return PrunedModel(model, wrappers)


def is_schedule(value: Any) -> bool:
    """Return whether a value is a pruning schedule of tensorflow-model-optimization."""
    return isinstance(value, import_tfmot().sparsity.keras.PruningSchedule)


def make_schedule(sparsity: float | None, steps: int, calls: int) -> Any:
    """Return the schedule of a layer."""
    keras_api = import_tfmot().sparsity.keras
    steps = steps * calls
    frequency = max(1, min(_MAX_FREQUENCY * calls, steps // 10))
    # The last update must coincide with the last step, or the final sparsity is not reached.
    end = steps // frequency * frequency
    if sparsity is None or end <= 1:
        return keras_api.ConstantSparsity(0.5 if sparsity is None else sparsity, 1, 1, frequency=1)
    return keras_api.PolynomialDecay(0.0, sparsity, 0, end, frequency=frequency)


def get_custom_prunable_weights(layer: Any) -> dict[str, Any] | None:
    """Return the weights that a `PrunableLayer` declares by name, or `None` for other layers."""
    if not isinstance(layer, import_tfmot().sparsity.keras.PrunableLayer):
        return None
    return {weight.name: weight for weight in layer.get_prunable_weights()}
