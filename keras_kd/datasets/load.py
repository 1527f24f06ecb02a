"""Data sets by name, ready for `fit`: the embedded digits, what TFDS has, and folders."""

import difflib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.datasets import folders as dataset_folders
from keras_kd.training.tf_data import disable_autotune

DIGITS = "digits"
_MEMORY = 512 * 2**20  # bytes
_SHUFFLE_BUFFER = 1_000  # samples
_PAIRS = (("image", "label"), ("image", "segmentation_mask"), ("text", "label"))


@dataclass(frozen=True)
class Description:
    """What a model for a data set has to know.

    Attributes:
        name: The name of the data set.
        input_shape: Shape of one sample, `None` where it differs from sample to sample; the shapes
            of several inputs where a folder has these.
        classes: Number of classes; `None` where the data set does not say, as for masks.
        splits: Number of samples of each split.
    """

    name: str
    input_shape: tuple[Any, ...]
    classes: int | None
    splits: dict[str, int]


def load(
    name: str | os.PathLike,
    split: str = "train",
    batch_size: int | None = 128,
    *,
    shuffle: bool | None = None,
    seed: int | None = 0,
) -> tf.data.Dataset:
    """Loads a data set as batches of `(x, y)`.

    `"digits"` are the 1,797 handwritten digits that scikit-learn brings along: images (8, 8, 1),
    labels 0 to 9, in fixed splits, stratified by class, that need no network. Any other name is one
    of TensorFlow Datasets, found in the folder `TFDS_DATA_DIR` names (`~/tensorflow_datasets` if it
    names none) or downloaded to it. A folder of one's own holds a split each in `train`, `test`,
    ..., saved with `tf.data.Dataset.save`, or in `train.npz`, `test.npz`, ..., with arrays x and
    y: single samples (x, y), not batches, such as the model takes; they come as they are.

    Images of TFDS come as float32 in [0, 1]; everything else as it is: class numbers int64, masks
    uint8 (height, width, 1), texts as strings. A split of up to 512 MB is decoded once and stays in
    memory.

    Args:
        name: `"digits"`, a name of TFDS such as `"mnist"`, or a folder such as `"data/mine"`.
        split: `"train"`, `"validation"` or `"test"` for digits; what a folder has; for others what
            TFDS has, slices such as `"train[:90%]"` too. Defaults to `"train"`.
        batch_size: Samples of a batch, the last one may have fewer. `None` gives single samples.
            Defaults to 128.
        shuffle: Whether to draw the samples in a new order in each epoch: from the whole split, or
            from 1,000 samples at a time where that is too large. Defaults to `True` for splits that
            begin with `"train"` and `False` for others.
        seed: The same seed gives the same orders; `None` a new one each time. Defaults to 0.

    Returns:
        The data set, prefetched, without autotuning: the end of each epoch would wait for it.

    Raises:
        ValueError: If there is no such data set or split, or if it does not come in pairs.

    Example:
        >>> train, test = load("digits"), load("digits", "test")
        >>> student.fit(train, validation_data=test)
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(
            f"Expected a batch_size of at least 1, or None. Received: {batch_size}. Use 128."
        )
    samples, scale = _samples(name, split)
    small = _bytes(samples) <= _MEMORY
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
    """Describes a data set: what its samples look like, and how many there are.

    Args:
        name: A name as for `load`.

    Raises:
        ValueError: If there is no such data set, or if it does not come in pairs.

    Example:
        >>> describe("digits").input_shape
        (8, 8, 1)
    """
    if name == DIGITS:
        splits = {split: len(rows) for split, rows in _digits_splits().items()}
        return Description(name, (8, 8, 1), 10, splits)
    folder = dataset_folders.find(name)
    if folder is not None:
        return _describe_folder(folder)
    info = _builder(name).info
    x, y = _pair(info)
    splits = {split: part.num_examples for split, part in info.splits.items()}
    classes = getattr(info.features[y], "num_classes", None)
    return Description(name, tuple(info.features[x].shape), classes, splits)


def _samples(name: str | os.PathLike, split: str) -> tuple[tf.data.Dataset, bool]:
    """Returns a split's samples, always in the same order, and whether to scale their x."""
    if name == DIGITS:
        return _digits(split)
    folder = dataset_folders.find(name)
    if folder is None:
        return _from_tfds(name, split)
    found = dataset_folders.splits(folder)
    if split not in found:
        raise ValueError(_no_split(str(folder), split, list(found)))
    return dataset_folders.samples(found[split]), False


def _describe_folder(folder: Path) -> Description:
    loaded = {
        split: dataset_folders.samples(path)
        for split, path in dataset_folders.splits(folder).items()
    }
    x = next(iter(loaded.values())).element_spec[0]
    shapes = [tuple(spec.shape) for spec in tree.flatten(x)]
    return Description(
        str(folder),
        shapes[0] if len(shapes) == 1 else tuple(shapes),
        None,
        {split: int(part.cardinality()) for split, part in loaded.items()},
    )


def _digits(split: str) -> tuple[tf.data.Dataset, bool]:
    """Returns a split of the digits, already in [0, 1], and that it needs no scaling."""
    from sklearn.datasets import load_digits

    splits = _digits_splits()
    if split not in splits:
        raise ValueError(_no_split(DIGITS, split, list(splits)))
    digits = load_digits()
    images = (digits.images[splits[split]] / 16).astype("float32")[..., np.newaxis]
    labels = digits.target[splits[split]].astype("int64")
    return tf.data.Dataset.from_tensor_slices((images, labels)), False


def _digits_splits() -> dict[str, np.ndarray]:
    """Returns the rows of each split: of each class a sixth to test, a sixth to validate."""
    from sklearn.datasets import load_digits

    labels = load_digits().target
    rng = np.random.RandomState(0)  # its stream is frozen: the splits stay the same for good
    test, validation, train = [], [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        sixth = len(rows) // 6
        test.append(rows[:sixth])
        validation.append(rows[sixth : 2 * sixth])
        train.append(rows[2 * sixth :])
    parts = {"train": train, "validation": validation, "test": test}
    return {name: np.sort(np.concatenate(rows)) for name, rows in parts.items()}


def _from_tfds(name: str, split: str) -> tuple[tf.data.Dataset, bool]:
    """Returns a split of a TFDS data set, always in the same order, and whether to scale its x."""
    import tensorflow_datasets as tfds

    builder = _builder(name)
    x, y = _pair(builder.info)
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


def _builder(name: str) -> Any:
    """Returns the TFDS builder of a data set that lies prepared on the disk.

    Raises:
        ValueError: If it is not there and cannot be had.
    """
    import tensorflow_datasets as tfds

    folder = _data_dir()
    try:
        builder = tfds.builder(name, data_dir=folder)
        if not builder.info.splits:
            builder.download_and_prepare()
    # TFDS, its downloader and each data set's own code fail in ways of their own.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"Expected 'digits', a data set of TFDS or a folder with splits. Received: '{name}', "
            f"which is no such folder, is not in '{folder}' and cannot be had ({reason}). "
            f"{_nearest(name, folder)} Set TFDS_DATA_DIR to the folder that has it, or run "
            f"`tensorflow_datasets.load({name!r})` once with a "
            "network."
        ) from error
    return builder


def _data_dir() -> Path:
    """Returns the folder of the data sets, as the environment says now (TFDS reads it once)."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _nearest(name: str, folder: Path) -> str:
    """Returns a sentence on which names there are: those like this one, or all in the folder."""
    import tensorflow_datasets as tfds

    folders = folder.iterdir() if folder.is_dir() else ()
    present = [DIGITS, *sorted(path.name for path in folders if path.is_dir())]
    similar = difflib.get_close_matches(name, present) or difflib.get_close_matches(
        name, tfds.list_builders()
    )
    if name in similar:
        return f"There are {present}."  # A known name that is not on the disk.
    return f"Did you mean {similar}?" if similar else f"There are {present}."


def _pair(info: Any) -> tuple[str, str]:
    """Returns the names of the features that are x and y.

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
        f"Expected a data set of pairs (x, y). Received: '{info.name}', with the features "
        f"{list(info.features)} and no pair among them. Load it with tensorflow_datasets, and map "
        "it to pairs."
    )


def _no_split(name: str, split: str, splits: list[str], more: str = "") -> str:
    return f"Expected a split of '{name}': {splits}. Received: {split!r}. Choose one{more}."


def _bytes(samples: tf.data.Dataset) -> float:
    """Returns the memory that the decoded samples take, infinite where that is not known."""
    specs = tree.flatten(samples.element_spec)
    if not all(spec.shape.is_fully_defined() for spec in specs):
        return math.inf
    return int(samples.cardinality()) * sum(
        spec.shape.num_elements() * spec.dtype.size for spec in specs
    )
