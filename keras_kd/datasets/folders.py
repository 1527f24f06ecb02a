"""User data sets: a folder with a saved `tf.data.Dataset` or arrays for each split."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd.models.graph import first_line

_SPEC_FILE = "dataset_spec.pb"  # Written by `tf.data.Dataset.save`.
_ARRAYS = {"x", "y"}


def find_folder(name: str | os.PathLike) -> Path | None:
    """Return the folder of a data set, or `None` if the name is not a folder.

    A plain word is a folder only if a folder of that name contains splits, so that TFDS names stay
    available.

    Raises:
        ValueError: If the name can only be a folder, but has no splits.
    """
    path = Path(name).expanduser()
    if list_splits(path):
        return path
    if isinstance(name, os.PathLike) or name.startswith((".", "~", os.sep)):
        raise ValueError(
            "Expected a folder with splits: 'train', 'test', ... saved with "
            "`tf.data.Dataset.save`, or 'train.npz', 'test.npz', ... with arrays x and y. "
            f"Received: '{name}', which {'has none' if path.is_dir() else 'is not a folder'}. Save "
            "single samples (x, y) there."
        )
    return None


def list_splits(folder: Path) -> dict[str, Path]:
    """Return the path of each split in a folder, sorted by name."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".npz" and path.is_file():
            found[path.stem] = path
        elif (path / _SPEC_FILE).is_file():
            found[path.name] = path
    return found


def load_split(path: Path) -> tf.data.Dataset:
    """Load the single samples (x, y) of a split, always in the same order.

    Raises:
        ValueError: If the split is damaged or does not contain pairs.
    """
    try:
        samples = _load_arrays(path) if path.suffix == ".npz" else tf.data.Dataset.load(str(path))
    except Exception as error:  # Damage raises many types of errors.
        raise ValueError(
            f"Expected samples (x, y) in '{path}'. Received: an unreadable file "
            f"({first_line(error)}). Save them again."
        ) from error
    if not isinstance(samples.element_spec, tuple) or len(samples.element_spec) != 2:
        raise ValueError(
            f"Expected single samples (x, y) in '{path}'. Received: {samples.element_spec}. Map "
            "the data set to pairs before you save it."
        )
    return samples


def _load_arrays(path: Path) -> tf.data.Dataset:
    with np.load(path, allow_pickle=False) as file:
        if set(file.files) != _ARRAYS:
            raise ValueError(f"its arrays are {file.files}, not x and y")
        return tf.data.Dataset.from_tensor_slices((file["x"], file["y"]))
