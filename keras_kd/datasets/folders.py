"""A data set of one's own: a folder with a saved `tf.data.Dataset` or arrays for each split."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

_MARK = "dataset_spec.pb"  # What `tf.data.Dataset.save` puts into its folder.
_ARRAYS = {"x", "y"}


def find(name: str | os.PathLike) -> Path | None:
    """Returns the folder that a data set's name is, `None` where it is the name of something else.

    A plain word is a folder only if there is one of that name with splits in it: names of TFDS are
    not taken by chance.

    Raises:
        ValueError: If it can only be a folder, and is none with splits.
    """
    path = Path(name).expanduser()
    if splits(path):
        return path
    if isinstance(name, os.PathLike) or name.startswith((".", "~", os.sep)):
        raise ValueError(
            "Expected a folder with splits: 'train', 'test', ... saved with "
            "`tf.data.Dataset.save`, or 'train.npz', 'test.npz', ... with arrays x and y. "
            f"Received: '{name}', which {'has none' if path.is_dir() else 'is no folder'}. Save "
            "single samples (x, y) there."
        )
    return None


def splits(folder: Path) -> dict[str, Path]:
    """Returns the splits in a folder: by name, what each was saved as; sorted."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".npz" and path.is_file():
            found[path.stem] = path
        elif (path / _MARK).is_file():
            found[path.name] = path
    return found


def samples(path: Path) -> tf.data.Dataset:
    """Returns the single samples (x, y) of a split, always in the same order.

    Args:
        path: What the split was saved as.

    Raises:
        ValueError: If it is damaged, or holds other than pairs.
    """
    try:
        loaded = _arrays(path) if path.suffix == ".npz" else tf.data.Dataset.load(str(path))
    except Exception as error:  # Damage shows in many ways.
        raise ValueError(
            f"Expected samples (x, y) in '{path}'. Received: what cannot be read "
            f"({_first_line(error)}). Save them again."
        ) from error
    if not isinstance(loaded.element_spec, tuple) or len(loaded.element_spec) != 2:
        raise ValueError(
            f"Expected single samples (x, y) in '{path}'. Received: {loaded.element_spec}. Map "
            "the data set to pairs before it is saved."
        )
    return loaded


def _arrays(path: Path) -> tf.data.Dataset:
    with np.load(path, allow_pickle=False) as file:
        if set(file.files) != _ARRAYS:
            raise ValueError(f"its arrays are {file.files}, not x and y")
        return tf.data.Dataset.from_tensor_slices((file["x"], file["y"]))


def _first_line(error: Any) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
