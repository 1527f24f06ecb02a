"""Images, texts and audio in a folder per class: `train/cat/001.jpg`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_kd.datasets.media import MEDIA, Reader
from keras_kd.models.graph import first_line

_LISTED = 5  # Files named in an error.


@dataclass(frozen=True)
class ClassFolder:
    """A split whose files lie in one folder per class.

    Attributes:
        path: The folder of the split.
        class_names: Names of the classes, by label.
        files: The files, in a fixed random order: data sets of many files are shuffled with a small
            buffer, and would come class by class.
        unknown: Files of another kind than the first one.
    """

    path: Path
    class_names: tuple[str, ...]
    files: tuple[Path, ...]
    unknown: tuple[Path, ...]

    @property
    def labels(self) -> np.ndarray:
        """The label of each file."""
        index = {name: label for label, name in enumerate(self.class_names)}
        return np.array(
            [index[file.relative_to(self.path).parts[0]] for file in self.files], "int64"
        )

    def count(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def load(self, shape: tuple[int, ...] | None, skip_unreadable: bool) -> tf.data.Dataset:
        """Return the single samples (x, y), after each file was read once.

        Args:
            shape: Shape that images and audio are converted to, or `None` for their own, which
                must be the same.
            skip_unreadable: Whether to omit files that cannot be read.

        Raises:
            ValueError: If a file cannot be read, or the shapes differ.
        """
        reader = Reader.for_file(self.files[0], shape)
        paths = [str(file) for file in self.files]
        specs, errors = _read_each(paths, reader.measure)
        errors = {**dict.fromkeys(map(str, self.unknown), "another kind of file"), **errors}
        if errors and not skip_unreadable:
            raise ValueError(_describe(self.path, errors))
        kept = np.array([path not in errors for path in paths])
        if not kept.any():
            raise ValueError(_describe(self.path, errors))
        kept_paths = [path for path, keep in zip(paths, kept, strict=True) if keep]
        reader = reader.fixed(kept_paths, [specs[path] for path in kept_paths])
        samples = tf.data.Dataset.from_tensor_slices((kept_paths, self.labels[kept]))
        return samples.map(lambda path, y: (reader.read(path), y), tf.data.AUTOTUNE)

    def split(self, validation: bool) -> "ClassFolder":
        """Return a fifth of each class for validation, or the rest."""
        labels, chosen = self.labels, np.zeros(len(self.files), bool)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            chosen[rows[: len(rows) // 5]] = True
        pairs = zip(self.files, chosen, strict=True)
        files = tuple(file for file, part in pairs if part == validation)
        return ClassFolder(self.path, self.class_names, files, () if validation else self.unknown)


def find_class_folder(path: Path, class_names: Sequence[str] | None = None) -> ClassFolder | None:
    """Return the split in a folder, or `None` if its subfolders have no images, texts or audio.

    Args:
        path: The folder.
        class_names: The classes of the training split. Defaults to the names of the subfolders.

    Raises:
        ValueError: If a class has no files, or is not one of `class_names`.
    """
    if not path.is_dir():
        return None
    folders = [sub for sub in sorted(path.iterdir()) if sub.is_dir() and sub.name[0] not in "._"]
    by_class = {sub.name: _list_files(sub) for sub in folders}
    media = [file for found in by_class.values() for file in found if file.suffix.lower() in MEDIA]
    if not media:
        return None
    kind = MEDIA[media[0].suffix.lower()]
    empty = [name for name, found in by_class.items() if not found]
    if empty:
        raise ValueError(
            f"Expected files in each class of '{path}'. Received: no file in {empty}. Add files, "
            "or remove the folders."
        )
    names = tuple(class_names or sorted(by_class, key=_by_number(by_class)))
    if not set(by_class) <= set(names):
        raise ValueError(
            f"Expected the classes of the training split in '{path}': {list(names)}. Received: "
            f"also {sorted(set(by_class) - set(names))}. Rename or remove these folders."
        )
    files = [file for found in by_class.values() for file in found]
    same = [file for file in files if MEDIA.get(file.suffix.lower()) == kind]
    # NumPy guarantees the stream of RandomState, so the order never changes.
    order = np.random.RandomState(0).permutation(len(same))
    others = tuple(file for file in files if MEDIA.get(file.suffix.lower()) != kind)
    return ClassFolder(path, names, tuple(same[i] for i in order), others)


def _list_files(folder: Path) -> list[Path]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return [file for file in found if not file.name.startswith(".")]


def _by_number(names: Any) -> Callable[[str], Any]:
    """Return the sorting key: numbers by value, so that 10 does not come before 2."""
    return int if all(name.isdecimal() for name in names) else str


def _read_each(
    paths: list[str], read: Callable[[tf.Tensor], Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read each file; return the results by path, and the errors of the others."""
    results, errors, start = {}, {}, 0
    while start < len(paths):
        rest = tf.data.Dataset.from_tensor_slices(paths[start:]).map(read, tf.data.AUTOTUNE)
        try:
            for result in rest:
                results[paths[start]] = tuple(result.numpy())
                start += 1
        except tf.errors.OpError as error:
            errors[paths[start]] = first_line(error)
            start += 1
    return results, errors


def _describe(path: Path, errors: dict[str, str]) -> str:
    listed = [f"'{file}' ({reason})" for file, reason in list(errors.items())[:_LISTED]]
    more = f" and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
    return (
        f"Expected files of one kind in '{path}' that can be read. Received: {', '.join(listed)}"
        f"{more}. Repair or remove them, or omit them with skip_unreadable=True."
    )
