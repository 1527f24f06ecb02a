"""Magnitude pruning: the smallest weights become zero during the training."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import get_kernels, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.tfmot.convert import convert_student, to_keras
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.pruning import (
    get_custom_prunable_weights,
    is_schedule,
    make_schedule,
    wrap_for_pruning,
)
from keras_kd.compression.tfmot.wrapper import wrap
from keras_kd.compression.training import Training
from keras_kd.models.user_warnings import warn_user
from keras_kd.training.keywords import explain_keywords

_POOLINGS = ("avg", "max")


@explain_keywords(Training)
def prune(
    student: keras.Model,
    sparsity: float | tuple[int, int] = 0.8,
    *,
    data: Any,
    epochs: int,
    schedule: Any = 0.5,
    block_size: tuple[int, int] = (1, 1),
    block_pooling: str = "avg",
    skip: Sequence[str] = (),
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Prune a student by magnitude, gradually during the training.

    In each layer the smallest weights become zero: kernels of dense and convolutional layers, the
    pointwise kernels of separable layers, embeddings, and recurrent kernels. Biases, batch norms,
    and depthwise kernels are not pruned. A pruned file has the same size and compresses better.

    Args:
        student: A built and trained Functional or Sequential `keras.Model`, which is not changed.
        sparsity: The fraction of zeros in each pruned kernel, in [0, 1); or (m, n) for m zeros in
            each n consecutive weights along the input channels. Defaults to 0.8.
        data: Training data; see `kd.compression.Training`.
        epochs: Number of epochs.
        schedule: The fraction of the steps over which the sparsity grows from 0, fast at first
            (cubic); 0 prunes in the first step. Or a `tfmot.sparsity.keras.PruningSchedule`. With
            (m, n), all weights are pruned in the first step. Defaults to 0.5.
        block_size: Height and width of the blocks in which weights of matrices become zero; kernels
            of other ranks are not pruned then. Defaults to (1, 1).
        block_pooling: The magnitude of a block, `"avg"` or `"max"`. Defaults to `"avg"`.
        skip: Layers not to prune, or their names. Defaults to none.
        custom: As for `to_tf_keras`. A custom tf_keras layer that is a
            `tfmot.sparsity.keras.PrunableLayer` is pruned too. Defaults to `None`.
        **training: Other arguments of `kd.compression.Training`: `optimizer`, `loss`, `metrics`,
            `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`, `validation_data`,
            `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `sparsity`.

    Raises:
        ValueError: If an argument is out of range, a layer cannot be converted to tf_keras, or no
            layer can be pruned.
        ImportError: If tensorflow-model-optimization is not installed.

    Example:
        >>> result = kd.compression.prune(
        ...     student, 0.8, data=train, epochs=10, loss=loss, teachers=teacher
        ... )
        >>> result.model.save("pruned.keras")
        >>> result.history["sparsity"][-1]
        0.8

    Reference:
        Zhu & Gupta 2017, arXiv:1710.01878.
    """
    plan = Training(data=data, epochs=epochs, **training)
    options = _wrapper_options(sparsity, block_size, block_pooling)
    target = None if isinstance(sparsity, tuple | list) else sparsity
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
    history = plan.fit(wrapped, measure, lambda: zero_fraction(pruned.weights) >= least)
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
    return LayerPlan(layer.name, kind, "left", reason)


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


def _wrapper_options(sparsity: Any, block_size: Any, block_pooling: str) -> dict[str, Any]:
    """Check the structure arguments and return those of `prune_low_magnitude`."""
    m_by_n = isinstance(sparsity, tuple | list)
    if m_by_n:
        valid = len(sparsity) == 2 and all(isinstance(x, int) for x in sparsity)
        valid = valid and 0 < sparsity[0] < sparsity[1]
    else:
        valid = isinstance(sparsity, int | float) and 0 <= sparsity < 1
    if not valid:
        raise ValueError(
            "`sparsity` must be a fraction in [0, 1), or (m, n) with 0 < m < n for m zeros in each "
            f"n consecutive weights. Received: sparsity={sparsity!r}"
        )
    blocks = tuple(block_size)
    if len(blocks) != 2 or not all(isinstance(x, int) and x > 0 for x in blocks):
        raise ValueError(
            f"`block_size` must be a height and a width. Received: block_size={block_size!r}"
        )
    if m_by_n and blocks != (1, 1):
        raise ValueError(
            "Choose one structure: blocks, or m zeros in each n weights. "
            f"Received: sparsity={sparsity}, block_size={block_size}"
        )
    if block_pooling not in _POOLINGS:
        raise ValueError(
            f"`block_pooling` must be one of {_POOLINGS}. Received: block_pooling={block_pooling!r}"
        )
    return {
        "block_size": blocks,
        "block_pooling_type": block_pooling.upper(),
        "sparsity_m_by_n": tuple(sparsity) if m_by_n else None,
    }


def _smallest_sparsity(weights: Sequence[np.ndarray], target: float | None) -> float:
    """Return the sparsity that counts as the target, which is rounded for each kernel."""
    if target is None:
        return 0.0
    zeros = sum(w.size - max(1, round(w.size * (1 - target))) for w in weights)
    return (zeros - 1) / sum(w.size for w in weights)
