import numpy as np
import pytest
import tensorflow as tf

from keras_kd import datasets


def save(folder, kind, rows=7):
    """Write a train split of distinct images and return its arrays."""
    x = np.arange(rows * 4, dtype="float32").reshape(rows, 2, 2, 1)
    y = np.arange(rows) % 3
    folder.mkdir()
    if kind == "npz":
        np.savez(folder / "train.npz", x=x, y=y)
    else:
        tf.data.Dataset.from_tensor_slices((x, y)).save(str(folder / "train"))
    return x, y


@pytest.mark.parametrize("kind", ["npz", "tf.data"])
def test_a_folder_with_splits_is_a_data_set(tmp_path, kind):
    x, y = save(tmp_path / "mine", kind)
    dataset = datasets.load(tmp_path / "mine", shuffle=False, batch_size=4)
    for found, expected in zip(zip(*dataset.unbatch(), strict=True), (x, y), strict=True):
        np.testing.assert_array_equal(found, expected)
    ((_, shuffled),) = datasets.load(str(tmp_path / "mine"))
    assert shuffled.numpy().tolist() != y.tolist()
    assert sorted(shuffled.numpy()) == sorted(y)
    about = datasets.describe(tmp_path / "mine")
    assert (about.input_shape, about.classes, about.splits) == ((2, 2, 1), None, {"train": 7})


def test_a_plain_word_is_a_folder_if_it_has_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    save(tmp_path / "mine", "npz")
    (tmp_path / "other").mkdir()
    assert datasets.describe("mine").splits == {"train": 7}
    with pytest.raises(ValueError, match="which is not such a folder, is not in"):
        datasets.load("other")


@pytest.mark.parametrize(
    ("name", "message"),
    [("./other", "which has none"), ("./nothing", "which is not a folder")],
)
def test_a_path_without_splits_is_rejected(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=f"Expected a folder with splits.*{message}"):
        datasets.load(name)


def test_a_damaged_split_is_named(tmp_path):
    save(tmp_path / "mine", "tf.data")
    with pytest.raises(ValueError, match=r"split of '.*mine': \['train'\]. Received: 'test'"):
        datasets.load(tmp_path / "mine", "test")
    (tmp_path / "mine" / "train" / "dataset_spec.pb").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="an unreadable file .*Save them again"):
        datasets.load(tmp_path / "mine")
    np.savez(tmp_path / "mine" / "train.npz", images=[1])
    with pytest.raises(ValueError, match=r"arrays are \['images'\], not x and y"):
        datasets.load(tmp_path / "mine")
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "mine" / "train.npz", x=objects, y=[1])
    with pytest.raises(ValueError, match="allow_pickle=False"):
        datasets.load(tmp_path / "mine")
