"""Data sets of the user: a folder with a class folder, a file or a saved data set per split."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_kd.datasets.class_folders import ClassFolder, find_class_folder
from keras_kd.datasets.csv_files import CsvFile, read_csv
from keras_kd.models.graph import first_line

TRAIN, VALIDATION = "train", "validation"
_SPEC_FILE = "dataset_spec.pb"  # Written by `tf.data.Dataset.save`.
_ARRAYS = {"x", "y"}


class Split(Protocol):
    """A part of a data set in a folder.

    Attributes:
        class_names: Names of the classes, by label, or `None`.
    """

    class_names: tuple[str, ...] | None

    def count(self) -> int:
        """Return the number of samples."""

    def load(self, shape: tuple[int, ...] | None, skip_unreadable: bool) -> tf.data.Dataset:
        """Return the single samples (x, y), always in the same order."""


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
            "Expected a folder with splits: 'train', 'test', ... with a folder of images, texts or "
            "audio per class, or saved with `tf.data.Dataset.save`; 'train.npz', ... with arrays x "
            "and y; or 'train.csv', ... with a column 'label'. Received: "
            f"'{name}', which {'has none' if path.is_dir() else 'is not a folder'}. Save single "
            "samples (x, y) there."
        )
    return None


def list_splits(folder: Path) -> dict[str, Split]:
    """Return the splits in a folder, sorted by name.

    Files by class and CSV files without a validation split are divided: a fifth of the training
    split is for validation.

    Raises:
        ValueError: If the files of a split do not fit together.
    """
    if not folder.is_dir():
        return {}
    found = _find_splits(folder)
    if not found and (whole := find_class_folder(folder)) is not None:
        found = {TRAIN: whole}
    train = found.get(TRAIN)
    if VALIDATION not in found and isinstance(train, (ClassFolder, CsvFile)):
        found |= {TRAIN: train.split(False), VALIDATION: train.split(True)}
    return dict(sorted(found.items()))


def _find_splits(folder: Path) -> dict[str, Split]:
    """Return the splits that have a file or a folder of their own."""
    found, class_names = {}, None
    # The training split comes first: it has all classes.
    for path in sorted(folder.iterdir(), key=lambda path: (path.stem != TRAIN, path.name)):
        if path.suffix == ".csv" and path.is_file():
            train = found.get(TRAIN)
            split = read_csv(path, train if isinstance(train, CsvFile) else None)
        elif (path.suffix == ".npz" and path.is_file()) or (path / _SPEC_FILE).is_file():
            split = SavedSplit(path)
        else:
            split = find_class_folder(path, class_names)
        if split is not None:
            found[path.stem] = split
            class_names = class_names or split.class_names
    # Labels of one type in all splits.
    files = {name: split for name, split in found.items() if isinstance(split, CsvFile)}
    whole = all(split.whole for split in files.values())
    return found | {name: replace(split, whole=whole) for name, split in files.items()}


@dataclass(frozen=True)
class SavedSplit:
    """A split in a saved `tf.data.Dataset`, or in arrays x and y.

    Attributes:
        path: The folder or the file.
        class_names: Always `None`.
    """

    path: Path
    class_names: tuple[str, ...] | None = None

    def count(self) -> int:
        """Return the number of samples."""
        return int(self.load(None, False).cardinality())

    def load(self, shape: tuple[int, ...] | None, skip_unreadable: bool) -> tf.data.Dataset:
        """Return the single samples (x, y), which are not converted, in their order.

        Raises:
            ValueError: If the split is damaged or does not contain pairs.
        """
        path = self.path
        try:
            arrays = path.suffix == ".npz"
            samples = _load_arrays(path) if arrays else tf.data.Dataset.load(str(path))
        except Exception as error:  # Damage raises many types of errors.
            raise ValueError(
                f"Expected samples (x, y) in '{path}'. Received: an unreadable file "
                f"({first_line(error)}). Save them again."
            ) from error
        if not isinstance(samples.element_spec, tuple) or len(samples.element_spec) != 2:
            raise ValueError(
                f"Expected single samples (x, y) in '{path}'. Received: {samples.element_spec}. "
                "Map the data set to pairs before you save it."
            )
        return samples


def _load_arrays(path: Path) -> tf.data.Dataset:
    with np.load(path, allow_pickle=False) as file:
        if set(file.files) != _ARRAYS:
            raise ValueError(f"its arrays are {file.files}, not x and y")
        return tf.data.Dataset.from_tensor_slices((file["x"], file["y"]))
