from pathlib import Path

import pytest
import tensorflow as tf

from keras_kd.datasets.media import Reader


def test_a_large_image_is_smoothed_before_it_is_resized(tmp_path):
    columns = tf.range(64) % 2 * 255  # Stripes, of which every 16th column would be black.
    image = tf.cast(tf.broadcast_to(columns[None, :, None], (64, 64, 1)), tf.uint8)
    tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(image))
    found = Reader("image", (4, 4, 1)).read(str(tmp_path / "a.png"))
    assert found.numpy()[:, 1:-1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("file", "shape", "kind"),
    [
        ("a.jpg", (8, 8), "image"),
        ("a.wav", (1, 2, 3), "audio"),
        ("a.png", (None, 8, 1), "image"),
        ("a.png", (3, 32, 32), "image"),  # The input of a channels_first model.
    ],
)
def test_a_shape_of_another_kind_is_rejected(file, shape, kind):
    with pytest.raises(ValueError, match=f"`input_shape` of {kind} files"):
        Reader.for_file(Path(file), shape)
