"""Clustering: the weights of each kernel share a few trained values."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import get_kernels, is_pruned, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.tfmot.clustering import (
    INITIALIZATIONS,
    ClusterOptions,
    wrap_for_clustering,
)
from keras_kd.compression.tfmot.convert import convert_student, to_keras
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.wrapper import wrap
from keras_kd.compression.training import Training
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
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Cluster the weights of a student, so that each kernel has only a few different values.

    Each weight takes the nearest value, and both values and assignments are trained. Kernels of
    dense and convolutional layers, the pointwise kernels of separable layers, embeddings, recurrent
    kernels, and those of attention are clustered. Biases, batch norms, and depthwise kernels are
    not. A clustered file has the same size and compresses better.

    Args:
        student: A built and trained Functional or Sequential `keras.Model`, which is not changed.
        clusters: Number of different values in a kernel, at least 2, or 3 if zeros are preserved.
            Defaults to 16.
        data: Training data; see `kd.compression.Training`.
        epochs: Number of epochs.
        start: Initialization of the values: `"kmeans++"`, `"density"`, `"linear"`, or `"random"`.
            Defaults to `"kmeans++"`.
        per_channel: Whether each output channel of a two-dimensional convolution has its own
            values, as int8 files have a scale per channel. Defaults to `False`.
        preserve_sparsity: Whether pruned kernels (with at least 10 % zeros) keep their zeros.
            Defaults to `True`.
        skip: Layers not to cluster, or their names. Defaults to none.
        custom: As for `to_tf_keras`. Defaults to `None`.
        **training: Other arguments of `kd.compression.Training`: `optimizer`, `loss`, `metrics`,
            `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`, `validation_data`,
            `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `clusters` (the
        largest number of values in a kernel) and `sparsity`.

    Raises:
        ValueError: If an argument is out of range, a layer cannot be converted to tf_keras, or no
            layer can be clustered.
        ImportError: If tensorflow-model-optimization is not installed.

    Example:
        >>> result = kd.compression.cluster(
        ...     student, 16, data=train, epochs=5, loss=loss, teachers=teacher
        ... )
        >>> len(np.unique(result.model.get_layer("logits").kernel))
        16
    """
    plan = Training(data=data, epochs=epochs, **training)
    _check(clusters, start)
    requested = ClusterOptions(clusters, start, preserve_sparsity, per_channel)
    converted = convert_student(student, custom)
    skip = resolve_skip(skip, student, converted.layers)
    planned = [
        _plan(layer, requested, path in skip)
        for path, chain in converted.layers.items()
        for layer in chain
    ]
    layers = LayerPlans(layer_plan for layer_plan, _ in planned)
    layers.announce("clustered", student.name, plan.verbose)
    options = {layer_plan.name: chosen for layer_plan, chosen in planned if chosen is not None}
    clustered = wrap_for_clustering(converted, options)

    def measure() -> dict[str, float]:
        clustered.update()
        sparsity = zero_fraction(clustered.kernels)
        return {"clusters": clustered.count_values(), "sparsity": sparsity}

    history = plan.fit(wrap(student, converted, clustered.model), measure)
    return Result(to_keras(clustered.strip(), student), history, layers)


def _check(clusters: Any, start: str) -> None:
    if not isinstance(clusters, int) or clusters < 2:
        raise ValueError(
            f"`clusters` must be an integer of at least 2. Received: clusters={clusters!r}"
        )
    if start not in INITIALIZATIONS:
        raise ValueError(
            f"`start` must be one of {list(INITIALIZATIONS)}. Received: start={start!r}"
        )


def _plan(
    layer: Any, requested: ClusterOptions, skipped: bool
) -> tuple[LayerPlan, ClusterOptions | None]:
    """Return what clustering does to a tf_keras layer, and its options if it is clustered."""
    kind = type(layer).__name__
    kernels = get_kernels(layer)
    if not layer.weights:
        reason = "no weights"
    elif not kernels:
        reason = f"tensorflow-model-optimization does not cluster {kind}"
    elif skipped:
        reason = "skipped"
    elif not layer.trainable:
        reason = "frozen"
    else:
        options, weights = _adapt_options(kernels.values(), kind, requested)
        if options.preserve_zeros and requested.clusters < 3:
            raise ValueError(
                "`clusters` must be at least 3 if zeros are preserved, as in the pruned layer "
                f"'{layer.name}'. Received: clusters={requested.clusters}. Alternatively, pass "
                "preserve_sparsity=False."
            )
        if weights > (1 if options.preserve_zeros else requested.clusters):
            zeros = f", {zero_fraction(kernels.values()):.0%} zeros preserved"
            reason = " and ".join(kernels) + (zeros if options.preserve_zeros else "")
            return LayerPlan(layer.name, kind, "clustered", reason), options
        reason = f"{weights} weights are not more than {requested.clusters} values"
    return LayerPlan(layer.name, kind, "left", reason), None


def _adapt_options(
    kernels: Collection[np.ndarray], kind: str, requested: ClusterOptions
) -> tuple[ClusterOptions, int]:
    """Return the options of a layer, and how many weights its values are computed from.

    The number of weights is that of the smallest kernel or channel, without preserved zeros.
    """
    per_channel = requested.per_channel and kind == "Conv2D"
    preserve_zeros = requested.preserve_zeros and is_pruned(kernels)
    if preserve_zeros:
        channels = [np.count_nonzero(k.reshape(-1, k.shape[-1]), axis=0) for k in kernels]
        least = min(counts.min() for counts in channels)
        # If a channel is all zeros, the channels share their values.
        per_channel = per_channel and least > 0
        weights = least if per_channel else min(map(np.count_nonzero, kernels))
    else:
        weights = min(np.size(k) // (k.shape[-1] if per_channel else 1) for k in kernels)
    options = dataclasses.replace(
        requested,
        # With zero as one of the values, tfmot cannot find more values than there are weights.
        clusters=min(requested.clusters, int(weights) + 1),
        preserve_zeros=preserve_zeros,
        per_channel=per_channel,
    )
    return options, int(weights)
