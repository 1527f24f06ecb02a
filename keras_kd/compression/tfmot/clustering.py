"""Clustering wrappers of tensorflow-model-optimization."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_kd.compression.tfmot.converted_model import ConvertedModel
from keras_kd.compression.tfmot.imports import import_tf_keras, import_tfmot

#: Initializations of the cluster centroids, and their names in tensorflow-model-optimization.
INITIALIZATIONS = {
    "kmeans++": "KMEANS_PLUS_PLUS",
    "density": "DENSITY_BASED",
    "linear": "LINEAR",
    "random": "RANDOM",
}


@dataclass(frozen=True)
class ClusterOptions:
    """How the kernels of a layer are clustered.

    Attributes:
        clusters: Number of values, including zero.
        start: A key of `INITIALIZATIONS`.
        preserve_zeros: Whether zeros stay zero.
        per_channel: Whether each output channel has its own values.
    """

    clusters: int
    start: str
    preserve_zeros: bool
    per_channel: bool


@dataclass(frozen=True)
class ClusteredModel:
    """A tf_keras model with layers that are wrapped for clustering.

    Attributes:
        model: The tf_keras model.
        wrappers: Its clustering wrappers.
    """

    model: Any
    wrappers: list[Any]

    def update(self) -> None:
        """Assign each weight to its nearest value again after an optimizer step."""
        for wrapper in self.wrappers:
            wrapper.update_clustered_weights_associations()

    @property
    def kernels(self) -> list[np.ndarray]:
        """The clustered kernels."""
        return [kernel for wrapper in self.wrappers for kernel in _get_kernels(wrapper)]

    def count_values(self) -> int:
        """Return the largest number of different values in a kernel, or in one of its channels."""
        counts = []
        for wrapper in self.wrappers:
            for kernel in _get_kernels(wrapper):
                channels = [kernel]
                if wrapper.cluster_per_channel:
                    channels = kernel.reshape(-1, kernel.shape[-1]).T
                counts += [len(np.unique(channel)) for channel in channels]
        return max(counts)

    @tf.autograph.experimental.do_not_convert
    def strip(self) -> Any:
        """Return the tf_keras model without the wrappers."""
        return import_tfmot().clustering.keras.strip_clustering(self.model)


@tf.autograph.experimental.do_not_convert
def wrap_for_clustering(
    converted: ConvertedModel, options: Mapping[str, ClusterOptions]
) -> ClusteredModel:
    """Wrap the layers that have options, by name, for clustering."""
    tfmot = import_tfmot()
    # The version that preserves zeros is not part of the public API of tfmot.
    clustering = importlib.import_module(
        "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
    )
    wrappers = []

    def wrap_layer(layer: Any) -> Any:
        if layer.name not in options:
            return layer
        chosen = options[layer.name]
        wrapper = clustering.cluster_weights(
            layer,
            chosen.clusters,
            tfmot.clustering.keras.CentroidInitialization[INITIALIZATIONS[chosen.start]],
            preserve_sparsity=chosen.preserve_zeros,
            cluster_per_channel=chosen.per_channel,
        )
        wrappers.append(wrapper)
        return wrapper

    model = import_tf_keras().models.clone_model(converted.flat, clone_function=wrap_layer)
    return ClusteredModel(model, wrappers)


def _get_kernels(wrapper: Any) -> list[np.ndarray]:
    return [np.asarray(wrapper.get_weight_from_layer(name)) for name in wrapper.cluster_centroids]
