"""Magnitude pruning with tensorflow-model-optimization, in tf_keras."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.sparsity_pattern import SparsityPattern
from keras_kd.compression.tfmot.convert import convert_student, to_keras
from keras_kd.compression.tfmot.kernels import get_kernels
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.pruning import (
    get_custom_prunable_weights,
    is_schedule,
    make_schedule,
    wrap_for_pruning,
)
from keras_kd.compression.tfmot.training import fit_in_tf_keras
from keras_kd.compression.tfmot.wrapper import wrap
from keras_kd.compression.training import Training
from keras_kd.models.user_warnings import warn_user


def prune_in_tf_keras(
    student: keras.Model,
    pattern: SparsityPattern,
    plan: Training,
    schedule: Any,
    skip: Sequence[str],
    custom: Custom | None,
) -> Result:
    """Prune a student; see `kd.compression.prune`."""
    options = {
        "block_size": pattern.block_size,
        "block_pooling_type": pattern.block_pooling.upper(),
        "sparsity_m_by_n": pattern.m_by_n,
    }
    target = pattern.target
    schedule_layer = _layer_schedule(schedule, target, plan)
    converted = convert_student(student, custom)
    skip = resolve_skip(skip, student, converted.layers)
    layers = LayerPlans(
        _plan(layer, options, path in skip)
        for path, chain in converted.layers.items()
        for layer in chain
    )
    layers.announce("pruned", student.name, plan.verbose)
    pruned = wrap_for_pruning(converted, layers.named("pruned"), options, schedule_layer)
    least = 0.0 if is_schedule(schedule) else _smallest_sparsity(pruned.weights, target)

    def measure() -> dict[str, float]:
        pruned.apply_masks()
        return {"sparsity": zero_fraction(pruned.weights)}

    wrapped = wrap(student, converted, pruned.model)
    history = fit_in_tf_keras(
        plan, wrapped, measure, lambda: zero_fraction(pruned.weights) >= least
    )
    if (reached := zero_fraction(pruned.weights)) < least:
        warn_user(
            f"The training of '{student.name}' ended at a sparsity of {reached:.3f}, before the "
            f"target of {target}. Train longer, or pass a smaller `schedule`."
        )
    return Result(to_keras(pruned.strip(), student), history, layers)


def _plan(layer: Any, options: dict[str, Any], skipped: bool) -> LayerPlan:
    """Return what pruning does to a tf_keras layer."""
    kind = type(layer).__name__
    kernels = get_custom_prunable_weights(layer)
    if kernels is None:
        kernels = {} if kind == "Bidirectional" else get_kernels(layer)
    ranks = {len(kernel.shape) for kernel in kernels.values()}
    if not layer.weights:
        reason = "no weights"
    elif not kernels:
        reason = f"tensorflow-model-optimization does not prune {kind}"
    elif skipped:
        reason = "skipped"
    elif not layer.trainable:
        reason = "frozen"
    elif options["block_size"] != (1, 1) and ranks != {2}:
        reason = "blocks require a matrix"
    elif options["block_size"] != (1, 1) and _has_one_row_of_blocks(kernels, options["block_size"]):
        reason = "tensorflow-model-optimization requires two rows and two columns of blocks"
    elif options["sparsity_m_by_n"] and not ranks <= {2, 4}:
        reason = "m of n requires a dense layer or a two-dimensional convolution"
    else:
        return LayerPlan(layer.name, kind, "pruned", " and ".join(kernels))
    return LayerPlan(layer.name, kind, "kept", reason)


def _has_one_row_of_blocks(kernels: Mapping[str, Any], block_size: tuple[int, int]) -> bool:
    """Return whether blocks cover a whole side of a matrix."""
    sides = [zip(kernel.shape, block_size, strict=True) for kernel in kernels.values()]
    return any(side <= size for pairs in sides for side, size in pairs)


def _layer_schedule(schedule: Any, target: float | None, plan: Training) -> Callable[[int], Any]:
    """Return a function from the number of calls of a layer per step to its schedule."""
    if is_schedule(schedule):
        return lambda calls: schedule
    if not isinstance(schedule, int | float) or not 0 <= schedule <= 1:
        raise ValueError(
            "`schedule` must be the fraction of the steps over which the sparsity grows, from 0 "
            f"to 1, or a tfmot.sparsity.keras.PruningSchedule. Received: schedule={schedule!r}"
        )
    steps = max(1, round(schedule * plan.steps)) if schedule else 1
    return functools.partial(make_schedule, target, steps)


def _smallest_sparsity(weights: Sequence[np.ndarray], target: float | None) -> float:
    """Return the sparsity that counts as the target, which is rounded for each kernel."""
    if target is None:
        return 0.0
    zeros = sum(w.size - max(1, round(w.size * (1 - target))) for w in weights)
    return (zeros - 1) / sum(w.size for w in weights)
