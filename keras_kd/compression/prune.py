"""Pruning: small weights become nought while the student, taught, learns to do without them."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import kernels_of, noughts
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, require_known
from keras_kd.compression.result import Result
from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot.convert import Bridged, bridged_student, to_keras
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.wrapper import encase
from keras_kd.compression.training import Training

_POOLINGS = ("avg", "max")


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
    """Prunes a student by magnitude, step by step, while it is trained.

    In each layer the smallest weights become nought: kernels of dense and convolutional layers, the
    pointwise ones of separable layers, embeddings and recurrent kernels; biases, batch norms and
    depthwise kernels are left. A pruned file is as large as before and compresses better.

    Args:
        student: A built Functional or Sequential `keras.Model`, trained; it stays as it is.
        sparsity: The share of noughts in each pruned kernel, in [0, 1); or (m, n) for m noughts in
            each n consecutive weights along the input channels. Defaults to 0.8.
        data: What to train on; see `kd.compression.Training`.
        epochs: How often to go through it.
        schedule: The share of the steps over which the sparsity grows from 0, fast at first (a
            cubic, Zhu & Gupta 2017); 0 prunes in the first step. Or a
            `tfmot.sparsity.keras.PruningSchedule`. With (m, n) all is pruned in the first step.
            Defaults to 0.5.
        block_size: Weights of matrices become nought in blocks of this height and width; kernels
            that are no matrices are then left. Defaults to (1, 1).
        block_pooling: What a block is judged by: the `"avg"` or `"max"` of its magnitudes. Defaults
            to `"avg"`.
        skip: Names of layers to leave alone. Defaults to none.
        custom: As for `to_tf_keras`. A custom tf_keras layer that is a
            `tfmot.sparsity.keras.PrunableLayer` is pruned too. Defaults to `None`.
        **training: The other arguments of `kd.compression.Training`: `optimizer`, `loss`,
            `metrics`, `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`,
            `validation_data`, `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `sparsity`.

    Raises:
        ValueError: When an argument is out of range, a layer cannot be carried over to tf_keras, or
            there is nothing to prune.
        ImportError: When tensorflow-model-optimization is not installed.

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
    wrapping = _wrapping(sparsity, block_size, block_pooling)
    bridged = bridged_student(student, custom)
    layers = plan_pruning(bridged, wrapping, skip)
    layers.announce("pruned", student.name, plan.verbose)
    final = sparsity if isinstance(sparsity, float | int) else None
    schedules = _Schedules(schedule, final, plan)
    wrapped, wrappers = _wrapped(bridged, layers.named("pruned"), wrapping, schedules)

    def masked() -> dict[str, float]:
        """The optimizer's last step is undone where weights are nought."""
        for wrapper in wrappers:
            wrapper.pruning_obj.weight_mask_op()
        return {"sparsity": _sparsity(wrappers)}

    reached = _reached(wrappers, schedules)
    history = plan.fit(encase(student, bridged, wrapped), masked, reached)
    if not reached():
        warnings.warn(
            f"The training of '{student.name}' ended at a sparsity of {_sparsity(wrappers):.3f}, "
            f"before the {final} that was asked for. Let it run on, or make `schedule` shorter.",
            stacklevel=2,
        )
    stripped = legacy_keras.tfmot().sparsity.keras.strip_pruning(wrapped)
    return Result(to_keras(stripped, student), history, layers)


def plan_pruning(bridged: Bridged, wrapping: dict[str, Any], skip: Sequence[str]) -> LayerPlans:
    """What pruning will do to each layer.

    Args:
        bridged: The student in tf_keras.
        wrapping: Arguments of tfmot's wrapper.
        skip: Names of layers to leave alone.

    Returns:
        The plans.

    Raises:
        ValueError: When `skip` has a name that there is not.
    """
    require_known(skip, bridged)
    return LayerPlans(
        _plan(path, link, wrapping, path in skip)
        for path, links in bridged.layers.items()
        for link in links
    )


def _plan(path: str, layer: Any, wrapping: dict[str, Any], skipped: bool) -> LayerPlan:
    """What will happen to one tf_keras layer."""
    tfmot = legacy_keras.tfmot()
    kind = type(layer).__name__
    kernels = {} if kind == "Bidirectional" else kernels_of(layer)
    if isinstance(layer, tfmot.sparsity.keras.PrunableLayer):
        kernels = {weight.name: weight for weight in layer.get_prunable_weights()}
    ranks = {len(kernel.shape) for kernel in kernels.values()}
    if not layer.weights:
        reason = "no weights"
    elif not kernels:
        reason = f"tensorflow-model-optimization prunes no {kind}"
    elif skipped:
        reason = "skipped"
    elif not layer.trainable:
        reason = "frozen"
    elif wrapping["block_size"] != (1, 1) and ranks != {2}:
        reason = "blocks need a matrix"
    elif wrapping["sparsity_m_by_n"] and not ranks <= {2, 4}:
        reason = "m by n needs a dense layer or a two-dimensional convolution"
    else:
        return LayerPlan(layer.name, kind, "pruned", " and ".join(kernels))
    return LayerPlan(layer.name, kind, "left", reason)


class _Schedules:
    """The pruning schedules of the layers."""

    def __init__(self, schedule: Any, final: float | None, plan: Training) -> None:
        self.given = schedule
        self.final = final
        base = legacy_keras.tfmot().sparsity.keras.PruningSchedule
        self.own = not isinstance(schedule, base)
        if not self.own:
            return
        if not isinstance(schedule, int | float) or not 0 <= schedule <= 1:
            raise ValueError(
                "`schedule` must be the share of the steps over which the sparsity grows, from 0 "
                f"to 1, or a tfmot.sparsity.keras.PruningSchedule. Received: schedule={schedule!r}"
            )
        self.steps = max(1, round(schedule * plan.steps)) if schedule else 1

    def of(self, calls: int) -> Any:
        """The schedule of a layer that runs some times in each step, and counts each time."""
        if not self.own:
            return self.given
        tfmot = legacy_keras.tfmot().sparsity.keras
        steps = self.steps * calls
        # The last update must fall on the last step, or the sparsity stays below.
        frequency = max(1, min(100 * calls, steps // 10))
        end = steps // frequency * frequency
        if self.final is None or end <= 1:
            return tfmot.ConstantSparsity(self.final or 0.5, 1, 1, frequency=1)
        return tfmot.PolynomialDecay(0.0, self.final, 0, end, frequency=frequency)


def _wrapping(sparsity: Any, block_size: Any, block_pooling: str) -> dict[str, Any]:
    """The arguments of tfmot's wrapper, checked."""
    by_n = isinstance(sparsity, tuple | list)
    if by_n:
        fine = len(sparsity) == 2 and all(isinstance(x, int) for x in sparsity)
        fine = fine and 0 < sparsity[0] < sparsity[1]
    else:
        fine = isinstance(sparsity, int | float) and 0 <= sparsity < 1
    if not fine:
        raise ValueError(
            "`sparsity` must be a share in [0, 1), or (m, n) with 0 < m < n for m noughts in each "
            f"n consecutive weights. Received: sparsity={sparsity!r}"
        )
    blocks = tuple(block_size)
    if len(blocks) != 2 or not all(isinstance(x, int) and x > 0 for x in blocks):
        raise ValueError(
            f"`block_size` must be a height and a width. Received: block_size={block_size!r}"
        )
    if by_n and blocks != (1, 1):
        raise ValueError(
            "Choose one structure: blocks, or m noughts in each n weights. "
            f"Received: sparsity={sparsity}, block_size={block_size}"
        )
    if block_pooling not in _POOLINGS:
        raise ValueError(
            f"`block_pooling` must be one of {_POOLINGS}. Received: block_pooling={block_pooling!r}"
        )
    return {
        "block_size": blocks,
        "block_pooling_type": block_pooling.upper(),
        "sparsity_m_by_n": tuple(sparsity) if by_n else None,
    }


def _wrapped(
    bridged: Bridged, names: Sequence[str], wrapping: dict[str, Any], schedules: _Schedules
) -> tuple[Any, list[Any]]:
    """The tf_keras model with tfmot's wrappers around the layers to prune, and the wrappers."""
    tf_keras, tfmot = legacy_keras.tf_keras(), legacy_keras.tfmot()
    wrappers = []

    def wrap(layer: Any) -> Any:
        if layer.name not in names:
            return layer
        schedule = schedules.of(len(layer.inbound_nodes))
        wrappers.append(tfmot.sparsity.keras.prune_low_magnitude(layer, schedule, **wrapping))
        return wrappers[-1]

    wrapped = tf_keras.models.clone_model(bridged.flat, clone_function=wrap)
    for wrapper in wrappers:
        wrapper.pruning_step.assign(0)
    return wrapped, wrappers


def _sparsity(wrappers: Sequence[Any]) -> float:
    """The share of noughts in all the pruned weights."""
    return noughts(np.asarray(w) for wrapper in wrappers for w, _, _ in wrapper.pruning_vars)


def _reached(wrappers: Sequence[Any], schedules: _Schedules) -> Any:
    """A function that tells whether the weights are as sparse as they shall be."""
    if schedules.final is None or not schedules.own:
        return lambda: True
    sizes = [math.prod(w.shape) for wrapper in wrappers for w, _, _ in wrapper.pruning_vars]
    least = sum(size - max(1, round(size * (1 - schedules.final))) for size in sizes) / sum(sizes)
    return lambda: _sparsity(wrappers) >= least - 1 / sum(sizes)
