"""A report: the numbers of a comparison, saved as a page, Markdown or JSON."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import atomic_write, require_writable, text_table
from keras_kd.report.columns import columns_of
from keras_kd.report.entries import Comparison
from keras_kd.report.markdown import render_markdown
from keras_kd.report.page import render_page


@dataclass(frozen=True, repr=False)
class Report(HtmlTables, Comparison):
    """A comparison of models.

    Attributes:
        title: The heading.
        entries: The models, in the given order.
        teacher: Name of the model that the others are compared with.
        student: Name of the model whose numbers are the headline, and whose disagreements with the
            teacher are shown.
        class_names: Names of the classes, or of the independent labels; empty for numbers.
        samples: Number of samples.
        disagreements: Samples for which student and teacher predict different classes, largest
            differences first.
        disagreeing: Number of such samples in the whole data set.
        history: Learning curves by model.
        about: Machine, versions and settings.
        task: `"classes"`, `"binary"` (yes or no), `"labels"` (independent ones) or `"values"`
            (numbers).
        changes: By class, what the student gains and loses against the teacher.
        confusions: Cells of the confusion matrices of teacher and student; of more than 20 classes
            the most frequent errors of the student.
    """

    def __repr__(self) -> str:
        return f"Report {self._caption()}:\n{text_table(*self._table())}"

    def html_tables(self) -> Mapping[str, Table]:
        """Return the table of the models."""
        return {f"Report {self._caption()}": self._table()}

    def _caption(self) -> str:
        return f"'{self.title}' on {self.samples:,} samples"

    def _table(self) -> Table:
        shown = [column for column in columns_of(self) if column.key in _SHOWN]
        rows = [[entry.name, *(c.cell(entry, self) for c in shown)] for entry in self.entries]
        heading = ["model", *(column.heading for column in shown)]
        return Table(heading, rows, right=range(1, len(heading)))

    def save(self, path: str | os.PathLike) -> Path:
        """Write the report.

        Args:
            path: File ending in `.html` (a self-contained page), `.md` or `.json`.

        Raises:
            ValueError: If the path has another ending.
            OSError: If the folder does not exist or is not writable.
        """
        path = Path(path)
        require_report_path(path)
        with atomic_write(path) as temporary:
            temporary.write_bytes(_RENDERERS[path.suffix](self).encode())
        return path


#: Keys of the columns in the `repr` of a report.
_SHOWN = ("accuracy", "exact_match", "auc", "rmse", "r2", "agreement", "size", "latency_us")
_RENDERERS: dict[str, Callable[[Comparison], str]] = {
    ".html": render_page,
    ".md": render_markdown,
    ".json": lambda comparison: json.dumps(comparison.as_dict(), indent=1) + "\n",
}


def require_report_path(path: Path) -> None:
    """Reject a path that no report can be written to, before anything is measured.

    Raises:
        ValueError: If it has another ending than a report, or is a folder.
        NotADirectoryError: If its folder does not exist.
    """
    if path.suffix not in _RENDERERS:
        raise ValueError(
            f"Expected a path that ends in one of {list(_RENDERERS)}. Received: '{path}'. Name the "
            "file, for example 'report.html'."
        )
    require_writable(path, path.suffix)
