"""Clustering: each kernel keeps a handful of values, which are trained, the teacher teaching."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import is_pruned, kernels_of, noughts
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, require_known
from keras_kd.compression.result import Result
from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot.convert import Bridged, bridged_student, to_keras
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.wrapper import encase
from keras_kd.compression.training import Training

_STARTS = {
    "kmeans++": "KMEANS_PLUS_PLUS",
    "density": "DENSITY_BASED",
    "linear": "LINEAR",
    "random": "RANDOM",
}


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
    """Clusters the weights of a student: each kernel has so many different values and no more.

    Weights go to the nearest of the values, and both are trained. Kernels of dense and
    convolutional layers, the pointwise ones of separable layers, embeddings, recurrent kernels and
    those of attention are clustered; biases, batch norms and depthwise kernels are left. A
    clustered file is as large as before and compresses better.

    Args:
        student: A built Functional or Sequential `keras.Model`, trained; it stays as it is.
        clusters: How many different values a kernel may have, at least 2, and 3 where noughts stay.
            Defaults to 16.
        data: What to train on; see `kd.compression.Training`.
        epochs: How often to go through it.
        start: Where the values begin: `"kmeans++"`, `"density"`, `"linear"` or `"random"`. Defaults
            to `"kmeans++"`.
        per_channel: Whether two-dimensional convolutions have so many values for each output
            channel, as int8 files have a scale for each. Defaults to `False`.
        preserve_sparsity: Whether kernels that have been pruned (of which a tenth or more is
            nought) keep their noughts. Defaults to `True`.
        skip: Names of layers to leave alone. Defaults to none.
        custom: As for `to_tf_keras`. Defaults to `None`.
        **training: The other arguments of `kd.compression.Training`: `optimizer`, `loss`,
            `metrics`, `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`,
            `validation_data`, `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`: a plain `keras.Model` like the student, and the history with `clusters` (the
        most values in any kernel) and `sparsity`.

    Raises:
        ValueError: When an argument is out of range, a layer cannot be carried over to tf_keras, or
            there is nothing to cluster.
        ImportError: When tensorflow-model-optimization is not installed.

    Example:
        >>> result = kd.compression.cluster(
        ...     student, 16, data=train, epochs=5, loss=loss, teachers=teacher
        ... )
        >>> len(np.unique(result.model.get_layer("logits").kernel))
        16
    """
    plan = Training(data=data, epochs=epochs, **training)
    _check(clusters, start)
    bridged = bridged_student(student, custom)
    require_known(skip, bridged)
    layers = LayerPlans(
        _plan(link, clusters, per_channel, preserve_sparsity, path in skip)
        for path, links in bridged.layers.items()
        for link in links
    )
    layers.announce("clustered", student.name, plan.verbose)
    wrapped, wrappers = _wrapped(bridged, layers, clusters, start, per_channel, preserve_sparsity)

    def measured() -> dict[str, float]:
        for wrapper in wrappers:
            wrapper.update_clustered_weights_associations()
        kernels = [kernel for wrapper in wrappers for kernel in _clustered(wrapper)]
        return {"clusters": max(map(_values, wrappers)), "sparsity": noughts(kernels)}

    history = plan.fit(encase(student, bridged, wrapped), measured)
    stripped = legacy_keras.tfmot().clustering.keras.strip_clustering(wrapped)
    return Result(to_keras(stripped, student), history, layers)


def _check(clusters: Any, start: str) -> None:
    if not isinstance(clusters, int) or clusters < 2:
        raise ValueError(
            f"`clusters` must be a whole number of at least 2. Received: clusters={clusters!r}"
        )
    if start not in _STARTS:
        raise ValueError(f"`start` must be one of {list(_STARTS)}. Received: start={start!r}")


def _plan(layer: Any, clusters: int, per_channel: bool, preserve: bool, skipped: bool) -> LayerPlan:
    """What will happen to one tf_keras layer."""
    kind = type(layer).__name__
    kernels = kernels_of(layer)
    if not layer.weights:
        reason = "no weights"
    elif not kernels:
        reason = f"tensorflow-model-optimization clusters no {kind}"
    elif skipped:
        reason = "skipped"
    elif not layer.trainable:
        reason = "frozen"
    else:
        form = _form(layer, per_channel, preserve)
        if form.noughts_stay and clusters < 3:
            raise ValueError(
                f"`clusters` must be at least 3 where noughts stay, as those of '{layer.name}' do. "
                f"Received: clusters={clusters}. Or pass preserve_sparsity=False."
            )
        if form.weights > (1 if form.noughts_stay else clusters):
            share = f"{noughts(kernels.values()):.0%}"
            also = f", {share} of it noughts that stay" if form.noughts_stay else ""
            return LayerPlan(layer.name, kind, "clustered", " and ".join(kernels) + also)
        reason = f"{form.weights} weights are not more than {clusters} values"
    return LayerPlan(layer.name, kind, "left", reason)


@dataclass(frozen=True)
class _Form:
    """How a layer is clustered.

    Attributes:
        weights: Of how many weights the values are made, in the smallest kernel or channel.
        noughts_stay: Whether its noughts stay; they do not count as weights then.
        channels: Whether each output channel has values of its own.
    """

    weights: int
    noughts_stay: bool
    channels: bool


def _form(layer: Any, per_channel: bool, preserve: bool) -> _Form:
    kernels = kernels_of(layer).values()
    channels = per_channel and type(layer).__name__ == "Conv2D"
    if not (preserve and is_pruned(kernels)):
        sizes = [np.size(k) // (k.shape[-1] if channels else 1) for k in kernels]
        return _Form(min(sizes), False, channels)
    least = min(np.count_nonzero(k.reshape(-1, k.shape[-1]), axis=0).min() for k in kernels)
    if channels and least > 0:
        return _Form(int(least), True, True)
    # Where a channel is all noughts, the channels share their values.
    return _Form(int(min(map(np.count_nonzero, kernels))), True, False)


def _wrapped(
    bridged: Bridged,
    layers: LayerPlans,
    clusters: int,
    start: str,
    per_channel: bool,
    preserve: bool,
) -> tuple[Any, list[Any]]:
    """The tf_keras model with tfmot's wrappers around the layers to cluster, and the wrappers."""
    tf_keras, tfmot = legacy_keras.tf_keras(), legacy_keras.tfmot()
    wrappers = []
    names = layers.named("clustered")
    # The one that can preserve sparsity is not among tfmot's public names.
    clustering = importlib.import_module(
        "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
    )

    def wrap(layer: Any) -> Any:
        if layer.name not in names:
            return layer
        form = _form(layer, per_channel, preserve)
        wrapper = clustering.cluster_weights(
            layer,
            # With nought as one of them, tfmot finds no more values than there are weights.
            min(clusters, form.weights + 1),
            tfmot.clustering.keras.CentroidInitialization[_STARTS[start]],
            preserve_sparsity=form.noughts_stay,
            cluster_per_channel=form.channels,
        )
        wrappers.append(wrapper)
        return wrapper

    return tf_keras.models.clone_model(bridged.flat, clone_function=wrap), wrappers


def _clustered(wrapper: Any) -> list[np.ndarray]:
    return [np.asarray(wrapper.get_weight_from_layer(name)) for name in wrapper.cluster_centroids]


def _values(wrapper: Any) -> int:
    """The most values in a kernel of a layer, or in one of its channels."""
    counts = []
    for kernel in _clustered(wrapper):
        channels = (
            kernel.reshape(-1, kernel.shape[-1]).T if wrapper.cluster_per_channel else [kernel]
        )
        counts += [len(np.unique(channel)) for channel in channels]
    return max(counts)
