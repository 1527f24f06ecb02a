"""Clustering wrappers give each kernel its values."""

import numpy as np
import pytest
from keras import layers

from keras_kd.compression.tfmot.clustering import (
    INITIALIZATIONS,
    ClusterOptions,
    wrap_for_clustering,
)
from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.imports import import_tfmot
from tests.compression import models


@pytest.mark.parametrize(("per_channel", "expected"), [(False, 3), (True, 3)])
def test_kernels_have_the_number_of_values(per_channel, expected):
    model = models.of(layers.Conv2D(2, 3, name="conv"), models.MAP)
    options = ClusterOptions(3, "linear", preserve_zeros=False, per_channel=per_channel)
    clustered = wrap_for_clustering(convert_student(model, None), {"conv": options})
    clustered.update()
    (kernel,) = clustered.kernels
    assert clustered.count_values() == expected
    assert len(np.unique(kernel)) == (2 * expected if per_channel else expected)
    stripped = clustered.strip().get_layer("conv")
    np.testing.assert_array_equal(stripped.kernel, kernel)


def test_other_layers_are_not_wrapped():
    model = models.conv_norm_relu()
    options = ClusterOptions(3, "linear", preserve_zeros=False, per_channel=False)
    clustered = wrap_for_clustering(convert_student(model, None), {"head": options})
    assert [wrapper.layer.name for wrapper in clustered.wrappers] == ["head"]
    assert type(clustered.model.get_layer("conv")).__name__ == "Conv2D"


def test_every_initialization_exists():
    names = vars(import_tfmot().clustering.keras.CentroidInitialization)
    assert set(INITIALIZATIONS.values()) <= set(names)
