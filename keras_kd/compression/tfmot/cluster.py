"""Clustering with tensorflow-model-optimization, in tf_keras."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import is_pruned, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result, resolve_skip
from keras_kd.compression.tfmot.clustering import ClusterOptions, wrap_for_clustering
from keras_kd.compression.tfmot.convert import convert_student, to_keras
from keras_kd.compression.tfmot.kernels import get_kernels
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.training import fit_in_tf_keras
from keras_kd.compression.tfmot.wrapper import wrap
from keras_kd.compression.training import Training


def cluster_in_tf_keras(
    student: keras.Model,
    requested: ClusterOptions,
    plan: Training,
    skip: Sequence[str],
    custom: Custom | None,
) -> Result:
    """Cluster a student; see `kd.compression.cluster`."""
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

    history = fit_in_tf_keras(plan, wrap(student, converted, clustered.model), measure)
    return Result(to_keras(clustered.strip(), student), history, layers)


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
    return LayerPlan(layer.name, kind, "kept", reason), None


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
