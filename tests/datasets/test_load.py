import importlib.util
import sys

import numpy as np
import pytest

from keras_kd import datasets

FIRST_TEST_LABELS = [3, 7, 3, 9, 0, 7, 0, 8, 0, 3]


def labels(dataset):
    return np.concatenate([np.asarray(y) for _, y in dataset])


def images(dataset):
    return np.concatenate([np.asarray(x) for x, _ in dataset])


@pytest.mark.parametrize("name", ["load", "folders", "mix_unlabeled"])
def test_importing_a_module_imports_no_data_set_library(monkeypatch, name):
    spec = importlib.util.find_spec(f"keras_kd.datasets.{name}")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    for library in ("tensorflow_datasets", "sklearn"):
        monkeypatch.setitem(sys.modules, library, None)  # An import raises ImportError.
    spec.loader.exec_module(module)
    assert module.__file__.endswith(f"{name}.py")


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
    every = np.concatenate([images(split).reshape(-1, 64) for split in splits.values()])
    expected = load_digits().data / 16
    assert len(every) == 1797
    assert sorted(map(bytes, every)) == sorted(map(bytes, expected.astype("float32")))
    shares = [np.bincount(labels(split)) / len(labels(split)) for split in splits.values()]
    assert np.ptp(shares, axis=0).max() < 0.005


def test_the_splits_of_digits_never_change():
    assert datasets.describe("digits").splits == {"train": 1205, "validation": 296, "test": 296}
    assert labels(datasets.load("digits", "test"))[:10].tolist() == FIRST_TEST_LABELS


def test_the_seed_determines_the_order():
    def epochs(seed):
        dataset = datasets.load("digits", seed=seed)
        return [labels(dataset).tolist() for _ in range(2)]

    first, second = epochs(0), epochs(0)
    assert first == second
    assert first[0] != first[1]
    assert first[0] != epochs(1)[0]
    assert sorted(first[0]) == sorted(epochs(1)[0])


def test_only_training_splits_are_shuffled_by_default():
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


def test_digits_are_described():
    description = datasets.describe("digits")
    assert description.input_shape == (8, 8, 1)
    assert description.classes == 10


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_rejected(batch_size):
    with pytest.raises(ValueError, match="Expected a batch_size of at least 1, or None. Received"):
        datasets.load("digits", batch_size=batch_size)


def test_an_unknown_split_raises_with_the_available_splits():
    with pytest.raises(ValueError, match=r"'train', 'validation', 'test'.*Received: 'val'"):
        datasets.load("digits", "val")


def test_an_unknown_name_raises_with_similar_names_and_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "fashion_mnist").mkdir()
    with pytest.raises(ValueError, match="Received: 'fashion_minst'") as error:
        datasets.load("fashion_minst")
    assert "Did you mean ['fashion_mnist']?" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "Set TFDS_DATA_DIR" in str(error.value)
    assert "tensorflow_datasets.load('fashion_minst')" in str(error.value)
    with pytest.raises(ValueError, match=r"Available: \['digits', 'fashion_mnist'\]"):
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


@pytest.mark.slow
@pytest.mark.dataset
def test_the_seed_determines_the_order_of_tfds_samples(tfds_set):
    def epochs(**kwargs):
        dataset = datasets.load(tfds_set("mnist"), "train[:1000]", **kwargs)
        return [labels(dataset).tolist() for _ in range(2)]

    assert epochs() == epochs()
    assert epochs()[0] != epochs()[1]
    assert epochs(seed=1) != epochs()
    ordered = epochs(shuffle=False)
    assert ordered[0] == ordered[1] == epochs(shuffle=False)[0]


@pytest.mark.dataset
def test_texts_are_unchanged(tfds_set):
    x, y = next(iter(datasets.load(tfds_set("imdb_reviews"), "test[:4]", 4)))
    assert x.dtype == "string"
    assert y.shape == (4,)
    assert datasets.describe("imdb_reviews").input_shape == ()


@pytest.mark.dataset
def test_a_folder_without_a_builder_gives_images_and_masks(tfds_set):
    x, y = next(iter(datasets.load(tfds_set("camvid_small"), "test[:4]", 4)))
    assert (x.shape, y.shape) == ((4, 120, 160, 3), (4, 120, 160, 1))
    assert np.max(x) <= 1
    assert set(np.unique(y)) <= set(range(12))
    assert datasets.describe("camvid_small").classes is None


@pytest.mark.dataset
def test_an_unknown_tfds_split_raises_with_the_available_splits(tfds_set):
    with pytest.raises(ValueError, match=r"'train', 'test'.*Received: 'validation'.*slice"):
        datasets.load(tfds_set("mnist"), "validation")


def test_only_files_by_class_have_another_shape():
    with pytest.raises(ValueError, match=r"Received: input_shape=\(4, 4, 1\) for 'digits'"):
        datasets.load("digits", input_shape=(4, 4, 1))
