"""Data sets: what comes out of them, in which order, and what is said of one that is not there."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_kd import datasets

FIRST_TEST_LABELS = [3, 7, 3, 9, 0, 7, 0, 8, 0, 3]


def labels(dataset):
    return np.concatenate([np.asarray(y) for _, y in dataset])


def images(dataset):
    return np.concatenate([np.asarray(x) for x, _ in dataset])


def test_importing_the_module_imports_no_data_set_library():
    code = (
        "import sys, keras; before = set(sys.modules); import keras_kd.datasets; "
        "new = set(sys.modules) - before; "
        "sys.exit(any(m.split('.')[0] in ('tensorflow_datasets', 'sklearn') for m in new))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_images_in_zero_to_one_with_integer_labels():
    x, y = next(iter(datasets.load("digits", batch_size=32)))
    assert x.shape == (32, 8, 8, 1)
    assert x.dtype == "float32"
    assert y.shape == (32,)
    assert y.dtype == "int64"
    whole = images(datasets.load("digits"))
    assert (whole.min(), whole.max()) == (0, 1)


def test_the_splits_of_digits_are_disjoint_complete_and_stratified():
    from sklearn.datasets import load_digits

    splits = {s: datasets.load("digits", s, shuffle=False) for s in ("train", "validation", "test")}
    together = np.concatenate([images(split).reshape(-1, 64) for split in splits.values()])
    expected = load_digits().data / 16
    assert len(together) == 1797
    assert sorted(map(bytes, together)) == sorted(map(bytes, expected.astype("float32")))
    shares = [np.bincount(labels(split)) / len(labels(split)) for split in splits.values()]
    assert np.ptp(shares, axis=0).max() < 0.005


def test_the_splits_of_digits_are_the_same_for_good():
    assert datasets.describe("digits").splits == {"train": 1205, "validation": 296, "test": 296}
    assert labels(datasets.load("digits", "test"))[:10].tolist() == FIRST_TEST_LABELS


def test_the_same_seed_gives_the_same_orders_and_another_seed_another():
    def epochs(seed):
        dataset = datasets.load("digits", seed=seed)
        return [labels(dataset).tolist() for _ in range(2)]

    first, second = epochs(0), epochs(0)
    assert first == second
    assert first[0] != first[1]
    assert first[0] != epochs(1)[0]
    assert sorted(first[0]) == sorted(epochs(1)[0])


def test_only_training_splits_are_shuffled_unless_asked():
    assert (
        labels(datasets.load("digits", "test")) == labels(datasets.load("digits", "test"))
    ).all()
    ordered = labels(datasets.load("digits", shuffle=False))
    assert (ordered == labels(datasets.load("digits", shuffle=False))).all()
    assert (ordered != labels(datasets.load("digits"))).any()
    test = labels(datasets.load("digits", "test"))
    assert (test != labels(datasets.load("digits", "test", shuffle=True))).any()


def test_the_last_batch_is_kept_and_no_batch_size_gives_single_samples():
    assert [len(y) for _, y in datasets.load("digits", "test", 200)] == [200, 96]
    x, y = next(iter(datasets.load("digits", batch_size=None)))
    assert (x.shape, y.shape) == ((8, 8, 1), ())


def test_digits_describe_themselves():
    description = datasets.describe("digits")
    assert description.input_shape == (8, 8, 1)
    assert description.classes == 10


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ValueError, match="Expected a batch_size of at least 1, or None. Received"):
        datasets.load("digits", batch_size=batch_size)


def test_a_split_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(ValueError, match=r"'train', 'validation', 'test'.*Received: 'val'"):
        datasets.load("digits", "val")


def test_a_name_that_is_not_there_is_answered_with_the_nearest_and_what_to_do(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "fashion_mnist").mkdir()
    with pytest.raises(ValueError, match="Received: 'fashion_minst'") as error:
        datasets.load("fashion_minst")
    assert "Did you mean ['fashion_mnist']?" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "Set TFDS_DATA_DIR" in str(error.value)
    assert "tensorflow_datasets.load('fashion_minst')" in str(error.value)
    with pytest.raises(ValueError, match="There are \\['digits', 'fashion_mnist'\\]"):
        datasets.describe("no_set_is_called_like_this")


def test_a_failed_name_leaves_nothing_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="no_such_set"):
        datasets.load("no_such_set")
    assert not list(tmp_path.iterdir())


@pytest.mark.dataset
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("mnist", (28, 28, 1), 10), ("cifar10", (32, 32, 3), 10), ("cifar100", (32, 32, 3), 100)],
)
def test_tfds_images_are_floats_in_zero_to_one(tfds_set, name, shape, classes):
    x, y = next(iter(datasets.load(tfds_set(name), "test[:500]", 500)))
    assert x.shape == (500, *shape)
    assert x.dtype == "float32"
    assert (np.min(x), np.max(x)) == (0, 1)
    assert y.dtype == "int64"
    description = datasets.describe(name)
    assert description.input_shape == shape
    assert description.classes == classes


@pytest.mark.dataset
def test_tfds_orders_follow_the_seed(tfds_set):
    def epochs(**kwargs):
        dataset = datasets.load(tfds_set("mnist"), "train[:1000]", **kwargs)
        return [labels(dataset).tolist() for _ in range(2)]

    assert epochs() == epochs()
    assert epochs()[0] != epochs()[1]
    assert epochs(seed=1) != epochs()
    ordered = epochs(shuffle=False)
    assert ordered[0] == ordered[1] == epochs(shuffle=False)[0]


@pytest.mark.dataset
def test_texts_come_as_they_are(tfds_set):
    x, y = next(iter(datasets.load(tfds_set("imdb_reviews"), "test[:4]", 4)))
    assert x.dtype == "string"
    assert y.shape == (4,)
    assert datasets.describe("imdb_reviews").input_shape == ()


@pytest.mark.dataset
def test_a_folder_without_its_builder_gives_images_and_masks(tfds_set):
    x, y = next(iter(datasets.load(tfds_set("camvid_small"), "test[:4]", 4)))
    assert (x.shape, y.shape) == ((4, 120, 160, 3), (4, 120, 160, 1))
    assert np.max(x) <= 1
    assert set(np.unique(y)) <= set(range(12))
    assert datasets.describe("camvid_small").classes is None


@pytest.mark.dataset
def test_a_tfds_split_that_is_not_there_is_answered_with_those_that_are(tfds_set):
    with pytest.raises(ValueError, match=r"'train', 'test'.*Received: 'validation'.*slice"):
        datasets.load(tfds_set("mnist"), "validation")


def saved(folder, kind, rows=7):
    """Writes a train split of counted images, and returns what was written."""
    x = np.arange(rows * 4, dtype="float32").reshape(rows, 2, 2, 1)
    y = np.arange(rows) % 3
    folder.mkdir()
    if kind == "npz":
        np.savez(folder / "train.npz", x=x, y=y)
    else:
        tf.data.Dataset.from_tensor_slices((x, y)).save(str(folder / "train"))
    return x, y


@pytest.mark.parametrize("kind", ["npz", "tf.data"])
def test_a_folder_of_ones_own_is_a_data_set(tmp_path, kind):
    x, y = saved(tmp_path / "mine", kind)
    dataset = datasets.load(tmp_path / "mine", shuffle=False, batch_size=4)
    np.testing.assert_array_equal(images(dataset), x)
    np.testing.assert_array_equal(labels(dataset), y)
    shuffled = labels(datasets.load(str(tmp_path / "mine")))
    assert shuffled.tolist() != y.tolist()
    assert sorted(shuffled) == sorted(y)
    about = datasets.describe(tmp_path / "mine")
    assert (about.input_shape, about.classes, about.splits) == ((2, 2, 1), None, {"train": 7})


def test_a_plain_word_is_a_folder_where_it_has_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    saved(tmp_path / "mine", "npz")
    (tmp_path / "other").mkdir()
    assert datasets.describe("mine").splits == {"train": 7}
    with pytest.raises(ValueError, match="which is no such folder, is not in"):
        datasets.load("other")


@pytest.mark.parametrize(
    ("name", "message"),
    [("./other", "which has none"), ("./nothing", "which is no folder")],
)
def test_a_path_without_splits_is_refused_in_words_about_folders(
    tmp_path, monkeypatch, name, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=f"Expected a folder with splits.*{message}"):
        datasets.load(name)


def test_a_damaged_or_misnamed_split_is_named(tmp_path):
    saved(tmp_path / "mine", "tf.data")
    with pytest.raises(ValueError, match=r"split of '.*mine': \['train'\]. Received: 'test'"):
        datasets.load(tmp_path / "mine", "test")
    (tmp_path / "mine" / "train" / "dataset_spec.pb").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="what cannot be read .*Save them again"):
        datasets.load(tmp_path / "mine")
    np.savez(tmp_path / "mine" / "train.npz", images=[1])
    with pytest.raises(ValueError, match=r"arrays are \['images'\], not x and y"):
        datasets.load(tmp_path / "mine")
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "mine" / "train.npz", x=objects, y=[1])
    with pytest.raises(ValueError, match="allow_pickle=False"):
        datasets.load(tmp_path / "mine")
