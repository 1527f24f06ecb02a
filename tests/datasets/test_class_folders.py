import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from keras_kd import datasets
from tests.datasets.image_files import write_images


def arrays(dataset):
    return tuple(np.concatenate([np.asarray(part[i]) for part in dataset]) for i in range(2))


def test_images_by_class_are_loaded_with_the_index_of_their_class(tmp_path):
    pixels = write_images(tmp_path / "train", ["dog", "cat"])
    write_images(tmp_path / "validation", ["cat"])
    x, y = arrays(datasets.load(tmp_path, shuffle=False))
    assert (x.dtype, y.dtype) == ("float32", "int64")
    expected = {(p.parent.name == "dog", v.tobytes()) for p, v in pixels.items()}
    found = {
        (bool(label), (255 * image).round().astype("uint8").tobytes())
        for image, label in zip(x, y, strict=True)
    }
    assert found == expected
    about = datasets.describe(tmp_path)
    assert about.class_names == ("cat", "dog")
    assert (about.input_shape, about.classes) == ((8, 8, 1), 2)
    assert about.splits == {"train": 10, "validation": 5}
    assert arrays(datasets.load(tmp_path, "validation"))[1].tolist() == [0] * 5


def test_the_digits_by_class_are_the_digits(tmp_path):
    digits = load_digits()
    for i in range(200):
        folder = tmp_path / str(digits.target[i])
        folder.mkdir(exist_ok=True)
        image = np.round(digits.images[i] * 255 / 16).astype("uint8")[..., None]
        tf.io.write_file(str(folder / f"{i}.png"), tf.io.encode_png(image))
    x, y = arrays(datasets.load(tmp_path, "train", shuffle=False))
    rows = {digits.images[i].tobytes(): digits.target[i] for i in range(200)}
    assert [rows[np.round(image[..., 0] * 16).astype("float64").tobytes()] for image in x] == list(
        y
    )
    assert len(set(y[:20])) > 5  # Not class by class.


def test_a_fifth_of_each_class_is_for_validation(tmp_path):
    write_images(tmp_path, ["a", "b"], count=10)
    parts = [arrays(datasets.load(tmp_path, split)) for split in ("train", "validation")]
    assert [np.bincount(y).tolist() for _, y in parts] == [[8, 8], [2, 2]]
    images = [{image.tobytes() for image in x} for x, _ in parts]
    assert not images[0] & images[1]
    assert len(images[0] | images[1]) == 20


def test_classes_that_are_numbers_are_in_the_order_of_the_numbers(tmp_path):
    write_images(tmp_path / "train", ["0", "2", "10"], count=1)
    assert datasets.describe(tmp_path).class_names == ("0", "2", "10")


def test_images_are_resized_and_converted_to_the_shape(tmp_path):
    write_images(tmp_path / "train", ["a"], size=16, channels=3)
    write_images(tmp_path / "train", ["b"], size=8, channels=3)
    with pytest.raises(ValueError, match=r"one shape. Received: .*\(8, 8, 3\).*`input_shape`"):
        datasets.load(tmp_path)
    x, _ = arrays(datasets.load(tmp_path, input_shape=(8, 8, 3), shuffle=False))
    assert x.shape == (8, 8, 8, 3)
    (gray,) = datasets.load(tmp_path, input_shape=(4, 6, 1))
    assert gray[0].shape == (8, 4, 6, 1)
    with pytest.raises(ValueError, match=r"`input_shape` of image files: \(height, width, chan"):
        datasets.load(tmp_path, input_shape=(8, 8))


def test_texts_by_class_are_strings(tmp_path):
    for name, text in (("bad", "nö"), ("good", "yes\nyes")):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.txt").write_text(text, encoding="utf-8")
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "1.txt").write_text(text, encoding="utf-8")
    x, y = arrays(datasets.load(tmp_path, "test"))
    assert {(a.decode(), b) for a, b in zip(x, y, strict=True)} == {("nö", 0), ("yes\nyes", 1)}
    (tmp_path / "test" / "bad" / "2.txt").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"Received: '.*test/bad/2.txt' \("):
        datasets.load(tmp_path, "test")


def write_sound(path, length, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = tf.reshape(tf.linspace(-0.5, 0.5, length), (length, 1))
    tf.io.write_file(str(path), tf.audio.encode_wav(wave, rate))


def test_audio_by_class_is_cut_or_padded_to_the_shape(tmp_path):
    for name, length in (("a/1.wav", 5), ("a/2.wav", 7), ("b/1.wav", 5)):
        write_sound(tmp_path / "train" / name, length)
    with pytest.raises(ValueError, match=r"one shape. Received: \([57], 1\).*`input_shape`"):
        datasets.load(tmp_path)
    x = arrays(datasets.load(tmp_path, input_shape=(6,), shuffle=False))[0]
    assert x.shape == (3, 6)
    assert (x[:, -1] == 0).sum() == 2
    assert arrays(datasets.load(tmp_path, input_shape=(6, 1)))[0].shape == (3, 6, 1)
    write_sound(tmp_path / "train" / "b" / "2.wav", 5, rate=16000)
    with pytest.raises(ValueError, match=r"one sampling rate. Received: .*16000 Hz in"):
        datasets.load(tmp_path, input_shape=(6,))


def test_unreadable_files_are_named_and_left_out_on_request(tmp_path):
    write_images(tmp_path / "train", ["a", "b"])
    (tmp_path / "train" / "a" / "000.png").write_bytes(b"no image")
    (tmp_path / "train" / "b" / "picture.webp").write_bytes(b"RIFF")
    (tmp_path / "train" / "b" / ".hidden").write_bytes(b"")
    with pytest.raises(ValueError, match="Expected files of one kind") as error:
        datasets.load(tmp_path)
    assert "picture.webp' (another kind of file)" in str(error.value)
    assert "a/000.png' (" in str(error.value)
    assert "skip_unreadable=True" in str(error.value)
    x, _ = arrays(datasets.load(tmp_path, skip_unreadable=True))
    assert len(x) == 7  # A fifth of each class is for validation.


def test_classes_of_the_splits_must_be_those_of_the_training(tmp_path):
    write_images(tmp_path / "train", ["a", "b"], count=1)
    write_images(tmp_path / "test", ["a", "c"], count=1)
    with pytest.raises(ValueError, match=r"\['a', 'b'\]. Received: also \['c'\]"):
        datasets.load(tmp_path, "test")
    (tmp_path / "test" / "c").rename(tmp_path / "test" / "b")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no file in \['empty'\]"):
        datasets.load(tmp_path)


def test_a_model_is_trained_on_a_folder(tmp_path):
    write_images(tmp_path, ["a", "b"])
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    history = model.fit(datasets.load(tmp_path), verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"]).all()
