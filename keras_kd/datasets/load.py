"""Data sets by name: digits, TFDS and user folders."""

import difflib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.datasets.class_folders import ClassFolder
from keras_kd.datasets.folders import TRAIN, find_folder, list_splits
from keras_kd.files import ShortRepr
from keras_kd.models.graph import first_line
from keras_kd.training.tf_data import disable_autotune

DIGITS = "digits"
_MAX_CACHE = 512 * 2**20  # bytes
_SHUFFLE_BUFFER = 1_000  # samples
_PAIRS = (("image", "label"), ("image", "segmentation_mask"), ("text", "label"))


@dataclass(frozen=True, repr=False)
class Description(ShortRepr):
    """Description of a data set.

    Attributes:
        name: The name of the data set.
        input_shape: Shape of one sample, with `None` for sizes that vary between samples; a tuple
            of shapes if a folder has several inputs.
        classes: Number of classes, or `None` if it is unknown, as for masks.
        splits: Number of samples of each split.
        class_names: Names of the classes, by label; `None` if they are unknown.
    """

    name: str
    input_shape: tuple[Any, ...]
    classes: int | None
    splits: dict[str, int]
    class_names: tuple[str, ...] | None = None


def load(
    name: str | os.PathLike,
    split: str = "train",
    batch_size: int | None = 128,
    *,
    shuffle: bool | None = None,
    seed: int | None = 0,
    input_shape: tuple[int, ...] | None = None,
    skip_unreadable: bool = False,
) -> tf.data.Dataset:
    """Load a data set as batches of `(x, y)`.

    `"digits"` are the 1,797 handwritten digits of scikit-learn, with images (8, 8, 1), labels 0 to
    9 and fixed splits stratified by class; they need no network. Any other name is looked up in
    TensorFlow Datasets (TFDS), in the folder `TFDS_DATA_DIR` (by default `~/tensorflow_datasets`),
    and downloaded if necessary. A folder contains, for each split:

    - `train/cat/001.jpg`: images, texts (`.txt`) or audio (`.wav`) in a folder per class. Labels
      are indices of the sorted names. Each file is read once before `load` returns.
    - `train.csv`: a column `label` and numbers, or one column of texts.
    - `train.npz`, or a `tf.data.Dataset` saved in `train`: arrays x and y, or single samples
      (x, y), which are returned unchanged.

    If files by class or a CSV file have no split `validation`, a fifth of `train` is taken for it.
    The folders of the classes may also lie in the data set's folder itself.

    Images are converted to float32 in [0, 1], audio to [-1, 1]. Everything else is unchanged: class
    indices are int64, masks are uint8 (height, width, 1), and texts are strings. A split of up to
    512 MB is decoded once and cached in memory.

    Args:
        name: `"digits"`, a TFDS name such as `"mnist"`, or a folder such as `"data/mine"`.
        split: `"train"`, `"validation"` or `"test"` for digits, a split of the folder, or a TFDS
            split or slice such as `"train[:90%]"`. Defaults to `"train"`.
        batch_size: Samples per batch; the last batch may be smaller. `None` returns single samples.
            Defaults to 128.
        shuffle: Whether to shuffle in every epoch, with a buffer of the whole split, or of 1,000
            samples if the split is not cached. Defaults to `True` for splits that begin with
            `"train"` and `False` otherwise.
        seed: Seed of the shuffling, or `None` for a random one. Defaults to 0.
        input_shape: Shape of one sample, to which the images in a folder are resized and audio is
            cut or padded. Defaults to `None`, their own shape, which must be the same.
        skip_unreadable: Whether to omit files and rows of a folder that cannot be read.
            Defaults to `False`: they are an error that names them.

    Returns:
        A prefetched `tf.data.Dataset` without autotuning, which would delay the end of each epoch.

    Raises:
        ValueError: If there is no such data set or split, it does not consist of pairs, a file
            cannot be read, or `input_shape` is given for data that are not converted.

    Example:
        >>> train = kd.datasets.load("digits")
        >>> test = kd.datasets.load("digits", "test")
        >>> student.fit(train, validation_data=test)
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1, or None. Received: {batch_size}.")
    samples, scale = _load_samples(name, split, input_shape, skip_unreadable)
    small = _count_bytes(samples) <= _MAX_CACHE
    if small:
        samples = samples.cache()
    if split.startswith("train") if shuffle is None else shuffle:
        buffer = max(int(samples.cardinality()), 1) if small else _SHUFFLE_BUFFER
        samples = samples.shuffle(buffer, seed=seed)
    if scale:
        samples = samples.map(_scale, num_parallel_calls=tf.data.AUTOTUNE)
    if batch_size is not None:
        samples = samples.batch(batch_size)
    return disable_autotune(samples.prefetch(tf.data.AUTOTUNE))


def describe(name: str | os.PathLike) -> Description:
    """Describe a data set: input shape, number of classes and splits.

    Args:
        name: A name as for `load`.

    Returns:
        A `Description`.

    Raises:
        ValueError: If there is no such data set, or it does not consist of pairs.

    Example:
        >>> kd.datasets.describe("digits").input_shape
        (8, 8, 1)
    """
    if name == DIGITS:
        splits = {split: len(rows) for split, rows in _digits_splits().items()}
        return Description(name, (8, 8, 1), 10, splits)
    folder = find_folder(name)
    if folder is not None:
        return _describe_folder(folder)
    info = _load_builder(name).info
    x, y = _find_pair(info)
    splits = {split: part.num_examples for split, part in info.splits.items()}
    classes = getattr(info.features[y], "num_classes", None)
    return Description(name, tuple(info.features[x].shape), classes, splits)


def split_names(name: str | os.PathLike) -> list[str]:
    """Return the names of the splits of a data set, without reading its samples.

    Raises:
        ValueError: If there is no such data set.
    """
    if name == DIGITS:
        return list(_digits_splits())
    folder = find_folder(name)
    return list(list_splits(folder) if folder else _load_builder(name).info.splits)


def is_converted(name: str | os.PathLike) -> bool:
    """Return whether a data set has files by class, which `input_shape` converts."""
    folder = None if name == DIGITS else find_folder(name)
    splits = list_splits(folder) if folder else {}
    return any(isinstance(split, ClassFolder) for split in splits.values())


def class_names(name: str | os.PathLike) -> tuple[str, ...] | None:
    """Return the names of a folder's classes, by label, or `None` if there are none."""
    folder = None if name == DIGITS else find_folder(name)
    splits = list_splits(folder) if folder else {}
    return next((split.class_names for split in splits.values() if split.class_names), None)


def _load_samples(
    name: str | os.PathLike,
    split: str,
    input_shape: tuple[int, ...] | None,
    skip_unreadable: bool,
) -> tuple[tf.data.Dataset, bool]:
    """Load a split's samples, always in the same order, and return whether to scale x."""
    if input_shape is not None and not is_converted(name):
        raise ValueError(
            "`input_shape` converts the images or audio in a folder per class. Received: "
            f"input_shape={input_shape} for '{name}'. Map the data set to the shape that you need."
        )
    if name == DIGITS:
        return _load_digits(split), False
    folder = find_folder(name)
    if folder is None:
        return _load_tfds(name, split)
    found = list_splits(folder)
    if split not in found:
        raise ValueError(_no_split(str(folder), split, list(found)))
    return found[split].load(input_shape, skip_unreadable), False


def _describe_folder(folder: Path) -> Description:
    found = list_splits(folder)
    split = found.get(TRAIN) or next(iter(found.values()))
    x = split.load(None, False).element_spec[0]
    shapes = [tuple(spec.shape) for spec in tree.flatten(x)]
    return Description(
        str(folder),
        shapes[0] if len(shapes) == 1 else tuple(shapes),
        None if split.class_names is None else len(split.class_names),
        {name: part.count() for name, part in found.items()},
        split.class_names,
    )


def _load_digits(split: str) -> tf.data.Dataset:
    """Load a split of the digits, scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    splits = _digits_splits()
    if split not in splits:
        raise ValueError(_no_split(DIGITS, split, list(splits)))
    digits = load_digits()
    images = (digits.images[splits[split]] / 16).astype("float32")[..., np.newaxis]
    labels = digits.target[splits[split]].astype("int64")
    return tf.data.Dataset.from_tensor_slices((images, labels))


def _digits_splits() -> dict[str, np.ndarray]:
    """Return the rows of each split: a sixth of each class for test and for validation."""
    from sklearn.datasets import load_digits

    labels = load_digits().target
    rng = np.random.RandomState(0)  # NumPy guarantees its stream, so the splits never change.
    test, validation, train = [], [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        sixth = len(rows) // 6
        test.append(rows[:sixth])
        validation.append(rows[sixth : 2 * sixth])
        train.append(rows[2 * sixth :])
    parts = {"train": train, "validation": validation, "test": test}
    return {name: np.sort(np.concatenate(rows)) for name, rows in parts.items()}


def _load_tfds(name: str, split: str) -> tuple[tf.data.Dataset, bool]:
    """Load a TFDS split, always in the same order, and return whether to scale x."""
    import tensorflow_datasets as tfds

    builder = _load_builder(name)
    x, y = _find_pair(builder.info)
    try:
        samples = builder.as_dataset(split=split, shuffle_files=False)
    except (ValueError, AssertionError) as error:
        splits = list(builder.info.splits)
        slices = ", or a slice of one, such as 'train[:90%]'"
        raise ValueError(_no_split(name, split, splits, slices)) from error
    feature = builder.info.features[x]
    scale = isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8
    return samples.map(lambda sample: (sample[x], sample[y])), scale


def _scale(image: tf.Tensor, label: Any) -> tuple[tf.Tensor, Any]:
    return tf.cast(image, tf.float32) / 255, label


def _load_builder(name: str) -> Any:
    """Return the TFDS builder of a data set, downloaded and prepared if necessary.

    Raises:
        ValueError: If the data set does not exist or cannot be downloaded.
    """
    import tensorflow_datasets as tfds

    folder = _data_dir()
    try:
        builder = tfds.builder(name, data_dir=folder)
        if not builder.info.splits:
            builder.download_and_prepare()
    # TFDS, its downloader and the data sets raise many types of errors.
    except Exception as error:
        raise ValueError(
            f"Expected 'digits', a TFDS data set or a folder with splits. Received: '{name}', "
            f"which is not such a folder, is not in '{folder}' and cannot be downloaded "
            f"({first_line(error)}). {_suggest_names(name, folder)} Set TFDS_DATA_DIR to the "
            f"folder that contains it, or run `tensorflow_datasets.load({name!r})` once with "
            "network access."
        ) from error
    return builder


def _data_dir() -> Path:
    """Return the current TFDS folder; TFDS itself reads the environment only once."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _suggest_names(name: str, folder: Path) -> str:
    """Return a sentence with the most similar names, or all names in the folder."""
    import tensorflow_datasets as tfds

    folders = folder.iterdir() if folder.is_dir() else ()
    present = [DIGITS, *sorted(path.name for path in folders if path.is_dir())]
    similar = difflib.get_close_matches(name, present) or difflib.get_close_matches(
        name, tfds.list_builders()
    )
    if name in similar:
        return f"Available: {present}."  # A known name that is not in the folder.
    return f"Did you mean {similar}?" if similar else f"Available: {present}."


def _find_pair(info: Any) -> tuple[str, str]:
    """Return the names of the features x and y.

    Raises:
        ValueError: If the data set has no such pair.
    """
    match info.supervised_keys:
        case (str(x), str(y)):
            return x, y
    for x, y in _PAIRS:
        if x in info.features and y in info.features:
            return x, y
    raise ValueError(
        f"Expected a data set of pairs (x, y). Received: '{info.name}' with the features "
        f"{list(info.features)}. Load it with tensorflow_datasets and map it to pairs."
    )


def _no_split(name: str, split: str, splits: list[str], more: str = "") -> str:
    return f"Expected a split of '{name}': {splits}. Received: {split!r}. Choose one{more}."


def _count_bytes(samples: tf.data.Dataset) -> float:
    """Return the memory size of the decoded samples, or infinity if it is unknown."""
    specs = tree.flatten(samples.element_spec)
    if not all(spec.shape.is_fully_defined() for spec in specs):
        return math.inf
    return int(samples.cardinality()) * sum(
        spec.shape.num_elements() * spec.dtype.size for spec in specs
    )
