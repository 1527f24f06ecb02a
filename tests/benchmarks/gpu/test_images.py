"""Crops and flips on the device."""

import numpy as np
import pytest

jnp = pytest.importorskip("jax.numpy", reason="the GPU benchmark needs JAX")

from benchmarks.gpu.images import (  # noqa: E402
    CROPS,
    IDENTITY,
    MEAN,
    PAD,
    STDDEV,
    VIEWS,
    Images,
    take_views,
)


def test_views_are_crops_of_the_padded_image_and_their_mirror_images():
    images = Images.random(3)
    padded = np.asarray(images.x)
    assert padded.shape == (3, 40, 40, 3)
    assert not padded[:, :PAD].any()
    assert VIEWS == 162
    ids, views = np.array([2, 0, 1, 1]), np.array([0, 161, 2 * (3 * CROPS + 7), IDENTITY])
    out = np.asarray(take_views(images.x, jnp.asarray(ids), jnp.asarray(views)))
    crops = [
        padded[2, :32, :32],
        padded[0, 8:40, 8:40][:, ::-1],
        padded[1, 3:35, 7:39],
        padded[1, 4:36, 4:36],
    ]
    expected = (np.stack(crops) / 255.0 - MEAN) / STDDEV
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_images_of_a_file(tmp_path):
    x = np.full((2, 32, 32, 3), 7, "uint8")
    y = np.array([99, 3], "uint8")
    np.savez(tmp_path / "data.npz", x=x, y=y, x_test=x[:1], y_test=y[:1])
    images = Images.load(tmp_path / "data.npz")
    assert images.count == 2
    assert images.y.tolist() == [99, 3]
    assert images.x_test.shape == (1, 32, 32, 3)
