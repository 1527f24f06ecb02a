"""Clustering: the weights of each kernel share a few trained values."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.compression.engines import check_engine
from keras_kd.compression.kernels import (
    Kernel,
    LayerKernels,
    is_pruned,
    list_kernels,
    zero_fraction,
)
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.tfmot.cluster import cluster_in_tf_keras
from keras_kd.compression.tfmot.clustering import ClusterOptions
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.trained_clusters import INITIALIZATIONS, Clustering, TrainedClusters
from keras_kd.compression.training import Training
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import require_built
from keras_kd.training.keywords import explain_keywords


@explain_keywords(Training)
def cluster(
    student: keras.Model,
    clusters: int = 16,
    *,
    data: Any,
    epochs: int,
    start: str = "kmeans++",
    per_channel: bool = False,
    preserve_sparsity: bool = True,
    skip: Sequence[str] = (),
    engine: str = "native",
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Cluster the weights of a student, so that each kernel has only a few different values.

    Each weight takes the nearest value, and both values and assignments are trained. The kernels
    that `prune` prunes are clustered. Biases, normalizations, and depthwise kernels are not. A
    clustered file has the same size and compresses better.

    Args:
        student: A built and trained `keras.Model`, which is not changed. A subclassed one needs a
            `get_config` with which it can be copied.
        clusters: Number of different values in a kernel, at least 2, or 3 if zeros are preserved.
            Defaults to 16.
        data: Training data; see `kd.compression.Training`.
        epochs: Number of epochs.
        start: Initialization of the values: `"kmeans++"`, `"density"`, `"linear"`, or `"random"`.
            Defaults to `"kmeans++"`.
        per_channel: Whether each output channel of a convolution (with `engine="tfmot"` of a
            two-dimensional one) has its own values, as int8 files have a scale per channel.
            Defaults to `False`.
        preserve_sparsity: Whether pruned kernels (with at least 10 % zeros) keep their zeros.
            Defaults to `True`.
        skip: Layers not to cluster, or their names. Defaults to none.
        engine: As for `prune`. Defaults to `"native"`.
        custom: For `engine="tfmot"`, as for `to_tf_keras`. Defaults to `None`.
        **training: Other arguments of `kd.compression.Training`: `optimizer`, `loss`, `metrics`,
            `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`, `validation_data`,
            `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `clusters` (the
        largest number of values in a kernel) and `sparsity`.

    Raises:
        ValueError: If an argument is out of range, the student cannot be copied (or, with
            `engine="tfmot"`, converted to tf_keras), or no layer can be clustered.
        ImportError: If tensorflow-model-optimization is needed and not installed.

    Example:
        >>> result = kd.compression.cluster(
        ...     student, 16, data=train, epochs=5, loss=loss, teachers=teacher
        ... )
        >>> len(np.unique(result.model.get_layer("logits").kernel))
        16
    """
    require_built(student, "The student")
    plan = Training(data=data, epochs=epochs, **training)
    _check(clusters, start)
    check_engine(engine, custom=custom)
    if engine == "tfmot":
        requested = ClusterOptions(clusters, start, preserve_sparsity, per_channel)
        return cluster_in_tf_keras(student, requested, plan, skip, custom)
    plan.require_plain_weights()
    model = copy_model(student)
    listed = list_kernels(model)
    skip = resolve_skip(skip, student, [one.path for one in listed])
    requested = _Requested(clusters, start, preserve_sparsity, per_channel)
    planned = [_plan(one, requested, one.path in skip) for one in listed]
    layers = LayerPlans(layer for layer, _ in planned)
    layers.announce("clustered", student.name, plan.verbose)
    clusterings = [one for _, chosen in planned for one in chosen]
    rule = TrainedClusters(clusterings)
    rule.start()

    def measure() -> dict[str, float]:
        sparsity = zero_fraction(one.kernel.value for one in clusterings)
        return {"clusters": rule.count_values(), "sparsity": sparsity}

    return Result(model, plan.distill(model, rule, measure), layers)


def _check(clusters: Any, start: str) -> None:
    if not isinstance(clusters, int) or clusters < 2:
        raise ValueError(
            f"`clusters` must be an integer of at least 2. Received: clusters={clusters!r}"
        )
    if start not in INITIALIZATIONS:
        raise ValueError(
            f"`start` must be one of {list(INITIALIZATIONS)}. Received: start={start!r}"
        )


@dataclass(frozen=True)
class _Requested:
    """The arguments of `cluster`."""

    clusters: int
    start: str
    preserve_sparsity: bool
    per_channel: bool

    def adapt(self, kernel: Kernel) -> tuple[Clustering, int]:
        """Return how a kernel is clustered, and how many weights its values are computed from.

        These are the weights of the kernel or of its smallest channel, without preserved zeros.
        """
        per_channel = self.per_channel and kernel.is_convolution
        preserve = self.preserve_sparsity and is_pruned([kernel.value])
        clustering = Clustering(kernel, self.clusters, self.start, preserve, per_channel)
        if preserve:
            least = int(_count_weights(clustering).min())
            # If a channel is all zeros, the channels share their values.
            clustering = dataclasses.replace(clustering, per_channel=per_channel and least > 0)
        weights = int(_count_weights(clustering).min())
        clusters = min(self.clusters, weights + 1) if preserve else self.clusters
        return dataclasses.replace(clustering, clusters=clusters), weights


def _count_weights(clustering: Clustering) -> np.ndarray:
    """Return how many weights share the values of each row."""
    rows = ops.convert_to_numpy(clustering.rows(ops.convert_to_tensor(clustering.kernel.variable)))
    counted = rows != 0 if clustering.preserve_zeros else np.ones_like(rows)
    return np.count_nonzero(counted, axis=1)


def _plan(
    one: LayerKernels, requested: _Requested, skipped: bool
) -> tuple[LayerPlan, list[Clustering]]:
    """Return what clustering does to a layer, and how its kernels are clustered."""
    if one.reason or skipped:
        return one.plan("kept", one.reason or "skipped"), []
    adapted = [requested.adapt(kernel) for kernel in one.kernels]
    if requested.clusters < 3 and any(clustering.preserve_zeros for clustering, _ in adapted):
        raise ValueError(
            "`clusters` must be at least 3 if zeros are preserved, as in the pruned layer "
            f"'{one.path}'. Received: clusters={requested.clusters}. Alternatively, pass "
            "preserve_sparsity=False."
        )
    clusterings = [
        clustering
        for clustering, weights in adapted
        if weights > (1 if clustering.preserve_zeros else requested.clusters)
    ]
    if not clusterings:
        most = max(weights for _, weights in adapted)
        reason = f"{most} weights are not more than {requested.clusters} values"
        return one.plan("kept", reason), []
    reason = " and ".join(clustering.kernel.name for clustering in clusterings)
    if zeros := [c.kernel.value for c in clusterings if c.preserve_zeros]:
        reason += f", {zero_fraction(zeros):.0%} zeros preserved"
    return one.plan("clustered", reason), clusterings
