"""Samples in a CSV file with a column of labels: `train.csv`."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

LABEL = "label"


@dataclasses.dataclass(frozen=True)
class CsvFile:
    """A split in a CSV file with a header.

    Attributes:
        path: The file.
        class_names: Names of the classes, by label, or `None` if the labels are numbers.
        rows: The number of each row in the file, and its values by column.
        columns: The columns of x, in the order of the training split.
        texts: Whether x is a column of texts.
        whole: Whether the labels of all splits are whole numbers.
    """

    path: Path
    class_names: tuple[str, ...] | None
    rows: tuple[tuple[int, dict[str, str]], ...]
    columns: tuple[str, ...]
    texts: bool
    whole: bool

    def count(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def load(self, shape: tuple[int, ...] | None, skip_unreadable: bool) -> tf.data.Dataset:
        """Return the single samples (x, y).

        x are the columns beside the label: numbers as a float32 vector, or one column of texts.
        y are indices of the names of classes, or the numbers: int64, or float32 if there are
        fractions.

        Args:
            shape: Not used: rows are not converted.
            skip_unreadable: Whether to omit rows without a value or with a text in place of a
                number.

        Raises:
            ValueError: If a row cannot be read.
        """
        columns, texts = self.columns, self.texts
        numeric = [] if texts else list(columns)
        if self.class_names is None:
            numeric.append(LABEL)
        wrong = {
            number: name
            for number, row in self.rows
            for name in (*columns, LABEL)
            if not row[name] or (name in numeric and not _is_number(row[name]))
        }
        kept = [row for number, row in self.rows if number not in wrong]
        if (wrong and not skip_unreadable) or not kept:
            raise ValueError(self._describe(wrong))
        x = [row[columns[0]] if texts else [float(row[name]) for name in columns] for row in kept]
        x = np.array(x) if texts else np.array(x, "float32")
        return tf.data.Dataset.from_tensor_slices((x, self._labels(kept)))

    def split(self, validation: bool) -> "CsvFile":
        """Return a fifth of the rows for validation, or the rest: always the same rows."""
        chosen = np.random.RandomState(0).permutation(len(self.rows)) < len(self.rows) // 5
        pairs = zip(self.rows, chosen, strict=True)
        rows = tuple(row for row, part in pairs if part == validation)
        return dataclasses.replace(self, rows=rows)

    def _labels(self, rows: Sequence[dict[str, str]]) -> np.ndarray:
        if self.class_names is not None:
            return np.array([self.class_names.index(row[LABEL]) for row in rows], "int64")
        return np.array([float(row[LABEL]) for row in rows]).astype(
            "int64" if self.whole else "float32"
        )

    def _describe(self, wrong: dict[int, str]) -> str:
        listed = [f"line {number}, column '{name}'" for number, name in list(wrong.items())[:5]]
        more = f" and {len(wrong) - 5} more lines" if len(wrong) > 5 else ""
        return (
            f"Expected numbers, or one column of texts, beside the column '{LABEL}' in "
            f"'{self.path}'. Received: {', '.join(listed)}{more}, without a number. Repair these "
            "lines, or omit them with skip_unreadable=True."
        )


def read_csv(path: Path, train: CsvFile | None = None) -> CsvFile:
    """Return the split in a CSV file.

    Args:
        path: The file.
        train: The training split, whose columns and classes the others have. Defaults to `None`,
            those of this file.

    Raises:
        ValueError: If the file has no column of labels or no rows, or other columns or labels than
            the training split.
    """
    rows, columns = _read_rows(path)
    labels = {row[LABEL] for _, row in rows if row[LABEL]}
    values = tuple(name for name in columns if name != LABEL)
    if train is None:
        names = None if all(map(_is_number, labels)) else tuple(sorted(labels))
        texts = len(values) == 1 and 2 * sum(_is_number(row[values[0]]) for _, row in rows) < len(
            rows
        )
        return CsvFile(path, names, rows, values, texts, _are_whole(labels))
    if set(values) != set(train.columns):
        raise ValueError(
            f"Expected the columns of the training split in '{path}': {list(train.columns)}. "
            f"Received: {list(values)}. Name the same columns."
        )
    if train.class_names is not None and not labels <= set(train.class_names):
        raise ValueError(
            f"Expected the labels of the training split in '{path}': {list(train.class_names)}. "
            f"Received: also {sorted(labels - set(train.class_names))}. Correct these labels."
        )
    return dataclasses.replace(train, path=path, rows=rows, whole=_are_whole(labels))


def _read_rows(path: Path) -> tuple[tuple[tuple[int, dict[str, str]], ...], list[str]]:
    """Return the rows with their line numbers, and the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = tuple((reader.line_num, row) for row in reader)
            columns = list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected a CSV file in UTF-8. Received: '{path}', which fails with: {error}. Save it "
            "again."
        ) from error
    long = [number for number, row in rows if None in row]
    repeated = len(set(columns)) < len(columns)
    if LABEL not in columns or len(columns) < 2 or not rows or long or repeated:
        found = f"line {long[0]} with more values" if long else f"{len(rows)} rows of {columns}"
        raise ValueError(
            f"Expected rows with a column '{LABEL}' and others in '{path}'. Received: {found}. The "
            "first line names the columns, each once."
        )
    return rows, columns


def _are_whole(labels: set[str]) -> bool:
    return all(float(label).is_integer() for label in labels if _is_number(label))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
