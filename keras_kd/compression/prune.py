"""Magnitude pruning: the smallest weights become zero during the training."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.compression.engines import check_engine
from keras_kd.compression.gradual_pruning import GradualPruning, PruningSchedule
from keras_kd.compression.kernels import Kernel, LayerKernels, list_kernels, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.sparsity_pattern import SparsityPattern, as_pattern
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.prune import prune_in_tf_keras
from keras_kd.compression.training import Training
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import require_built
from keras_kd.models.user_warnings import warn_user
from keras_kd.training.keywords import explain_keywords


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
    engine: str = "native",
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Prune a student by magnitude, gradually during the training.

    In each kernel the smallest weights become zero: those of dense and convolutional layers, the
    pointwise kernels of separable layers, embeddings, recurrent kernels, those of attention, and
    the weights of custom layers that are named `kernel`. Biases, normalizations, and depthwise
    kernels are not pruned. A pruned file has the same size and compresses better.

    The zeros are the only trace of the pruning: the result is a plain model without masks. To train
    it further and keep them, use `kd.Distiller(..., preserve_sparsity=True)`; `cluster` and
    `quantize_aware` keep them anyway.

    Args:
        student: A built and trained `keras.Model`, which is not changed. A subclassed one needs a
            `get_config` with which it can be copied.
        sparsity: The fraction of zeros in each pruned kernel, in [0, 1); or (m, n) for m zeros in
            each n consecutive weights along the input channels. Defaults to 0.8.
        data: Training data; see `kd.compression.Training`.
        epochs: Number of epochs.
        schedule: The fraction of the steps over which the sparsity grows from 0, fast at first
            (cubic); 0 prunes before the first step. Or, with `engine="tfmot"`, a
            `tfmot.sparsity.keras.PruningSchedule`. With (m, n), all weights are pruned before the
            first step. Defaults to 0.5.
        block_size: Height (input channels) and width (output channels) of the blocks in which
            weights become zero. `engine="tfmot"` prunes only matrices then. Defaults to (1, 1).
        block_pooling: The magnitude of a block, `"avg"` or `"max"`. Defaults to `"avg"`.
        skip: Layers not to prune, or their names. Defaults to none.
        engine: `"native"` trains a copy of the student, on any backend; `"tfmot"` converts it to
            tf_keras and uses tensorflow-model-optimization. Defaults to `"native"`.
        custom: For `engine="tfmot"`, as for `to_tf_keras`. A custom tf_keras layer that is a
            `tfmot.sparsity.keras.PrunableLayer` is pruned too. Defaults to `None`.
        **training: Other arguments of `kd.compression.Training`: `optimizer`, `loss`, `metrics`,
            `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`, `validation_data`,
            `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `sparsity`.

    Raises:
        ValueError: If an argument is out of range, the student cannot be copied (or, with
            `engine="tfmot"`, converted to tf_keras), or no layer can be pruned.
        ImportError: If tensorflow-model-optimization is needed and not installed.

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
    require_built(student, "The student")
    plan = Training(data=data, epochs=epochs, **training)
    pattern = as_pattern(sparsity, block_size, block_pooling)
    fraction = isinstance(schedule, int | float)
    check_engine(engine, custom=custom, schedule=None if fraction else schedule)
    if engine == "tfmot":
        return prune_in_tf_keras(student, pattern, plan, schedule, skip, custom)
    plan.require_plain_weights()
    steps = _schedule_steps(schedule, plan)
    model = copy_model(student)
    listed = list_kernels(model)
    skip = resolve_skip(skip, student, [one.path for one in listed])
    layers = LayerPlans(_plan(one, pattern, one.path in skip) for one in listed)
    layers.announce("pruned", student.name, plan.verbose)
    kernels = _pruned_kernels(listed, layers, pattern)
    rule = GradualPruning(kernels, pattern, PruningSchedule.over(pattern.target, steps))
    rule.start()

    def measure() -> dict[str, float]:
        return {"sparsity": zero_fraction(kernel.value for kernel in kernels)}

    history = plan.distill(model, rule, measure, lambda: rule.done)
    if not rule.done:
        warn_user(
            f"The training of '{student.name}' ended at a sparsity of {measure()['sparsity']:.3f}, "
            f"before the target of {pattern.target}. Train longer, or pass a smaller `schedule`."
        )
    return Result(model, history, layers)


def _schedule_steps(schedule: float, plan: Training) -> int:
    """Return the number of steps over which the sparsity grows."""
    if not 0 <= schedule <= 1:
        raise ValueError(
            "`schedule` must be the fraction of the steps over which the sparsity grows, from 0 "
            "to 1, or a tfmot.sparsity.keras.PruningSchedule with engine='tfmot'. Received: "
            f"schedule={schedule!r}"
        )
    return max(1, round(schedule * plan.steps)) if schedule else 1


def _plan(one: LayerKernels, pattern: SparsityPattern, skipped: bool) -> LayerPlan:
    """Return what pruning does to a layer."""
    obstacles = [pattern.obstacle(kernel) for kernel in one.kernels]
    if one.reason:
        return one.plan("kept", one.reason)
    if skipped:
        return one.plan("kept", "skipped")
    if all(obstacles):
        return one.plan("kept", obstacles[0])
    pairs = zip(one.kernels, obstacles, strict=True)
    return one.plan("pruned", " and ".join(k.name for k, obstacle in pairs if not obstacle))


def _pruned_kernels(
    listed: Sequence[LayerKernels], layers: LayerPlans, pattern: SparsityPattern
) -> list[Kernel]:
    """Return the kernels of the layers that are pruned."""
    return [
        kernel
        for one, layer in zip(listed, layers, strict=True)
        for kernel in one.kernels
        if layer.action == "pruned" and not pattern.obstacle(kernel)
    ]
