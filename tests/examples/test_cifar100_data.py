"""Images of the CIFAR-100 example from a file, without TensorFlow."""

import numpy as np
import pytest

from examples.cifar100_data import MEAN, STDDEV, load_data


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    found = {name: rng.integers(0, 256, (20, 32, 32, 3), "uint8") for name in ("x", "x_test")} | {
        name: rng.integers(0, 100, 20, "uint8") for name in ("y", "y_test")
    }
    np.savez(tmp_path / "images.npz", **found)
    return tmp_path / "images.npz", found


def pixels(x):
    return np.round((x * STDDEV + MEAN) * 255).astype("uint8")


def test_training_images_are_crops_and_flips_in_random_order(arrays):
    path, found = arrays
    train, _ = load_data(path)
    (x, y) = train[0]
    assert (len(train), x.shape, x.dtype, y.dtype) == (1, (20, 32, 32, 3), "float32", "int32")
    padded = np.pad(found["x"], ((0, 0), (4, 4), (4, 4), (0, 0)))
    for place, image in enumerate(pixels(x)):
        row = train.order[place]
        top, left = train.corners[:, place]
        crop = padded[row, top : top + 32, left : left + 32]
        np.testing.assert_array_equal(image, crop[:, ::-1] if train.flips[place] else crop)
        assert y[place] == found["y"][row]
    assert sorted(train.order) == list(range(20))


def test_views_depend_on_the_seed_and_the_epoch(arrays):
    one, same, other = (load_data(arrays[0], seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[0][0], same[0][0])
    assert not np.array_equal(one[0][0], other[0][0])
    first = one[0][0]
    one.on_epoch_end()
    assert not np.array_equal(one[0][0], first)


def test_test_images_are_normalized_in_order_and_the_last_batch_is_kept(arrays):
    path, found = arrays
    train, test = load_data(path, quick=True)
    assert ([len(y) for _, y in train], [len(y) for _, y in test]) == ([8, 8], [16])
    np.testing.assert_array_equal(pixels(test[0][0]), found["x_test"][:16])
    np.testing.assert_array_equal(test[0][1], found["y_test"][:16])
