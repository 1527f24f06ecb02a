"""Random views of images."""

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.budget.augmentation import (
    AUGMENTATIONS,
    augment_samples,
    augmentations,
    shift,
    shift_and_flip,
)

IMAGE = np.arange(28 * 28, dtype="float32").reshape(28, 28, 1)


@pytest.mark.parametrize("augment", [shift, shift_and_flip])
def test_a_view_is_the_image_moved_a_little_and_depends_on_the_seed(augment):
    seeds = [tf.constant([1, i], tf.int64) for i in range(12)]
    views = [augment(tf.constant(IMAGE), seed).numpy() for seed in seeds]
    np.testing.assert_array_equal(views[0], augment(tf.constant(IMAGE), seeds[0]))
    assert len({view.tobytes() for view in views}) > 6
    centers = {view[14, 14, 0] for view in views}
    columns = {int(center) % 28 for center in centers}
    assert columns <= ({12, 13, 14, 15, 16} | ({11} if augment is shift_and_flip else set()))
    assert all(view.shape == IMAGE.shape for view in views)


def test_only_images_are_augmented():
    assert augmentations(IMAGE[None]) == list(AUGMENTATIONS)
    assert augmentations(IMAGE[None, :8, :8]) == ["none"]
    assert augmentations(IMAGE[None].repeat(2, -1)) == ["none"]
    assert augmentations({"image": IMAGE[None]}) == ["none"]
    assert augmentations(np.zeros((2, 9))) == ["none"]


def test_samples_get_a_new_view_each_time_and_keep_their_labels():
    samples = tf.data.Dataset.from_tensors((IMAGE, 3)).repeat(8)
    found = list(augment_samples(samples, "shifts", 5).as_numpy_iterator())
    assert {int(y) for _, y in found} == {3}
    assert len({x.tobytes() for x, _ in found}) > 4
    assert augment_samples(samples, "none", 5) is samples
