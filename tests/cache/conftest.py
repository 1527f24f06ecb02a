"""Teachers, data sets and caches that are built once; tests must not change them."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tests.cache.caches import ROWS, SAMPLES, build


@pytest.fixture(scope="session")
def cnn():
    return toy.cnn("teacher", 6)


@pytest.fixture(scope="session")
def samples():
    """Single images with labels."""
    return tf.data.Dataset.from_tensor_slices(toy.data(SAMPLES))


@pytest.fixture(scope="session")
def cache(cnn, samples, tmp_path_factory):
    """Outputs and features of the images, in float32."""
    path = tmp_path_factory.mktemp("cache") / "c"
    return build(cnn, samples, path, taps=[None, "features"], dtype="float32")


@pytest.fixture(scope="session")
def mlp():
    return toy.mlp("teacher")


@pytest.fixture(scope="session")
def vectors():
    """Batches of vectors, enough for three blocks."""
    x = np.random.default_rng(0).normal(size=(ROWS, 5)).astype("float32")
    return tf.data.Dataset.from_tensor_slices(x).batch(500)


@pytest.fixture(scope="session")
def whole(mlp, vectors, tmp_path_factory):
    """The folder of a complete cache of the vectors."""
    return build(mlp, vectors, tmp_path_factory.mktemp("whole") / "c").path


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of `whole` to damage."""
    return shutil.copytree(whole, tmp_path / "copy")
