"""A report as Markdown: the tables, for a pull request or a README."""

from keras_kd.report import formatting
from keras_kd.report.columns import COLUMNS
from keras_kd.report.entries import Comparison


def render_markdown(comparison: Comparison) -> str:
    """Return the numbers of a comparison as Markdown."""
    entries = comparison.entries
    models = [["model", *(column.heading for column in COLUMNS)]]
    models += [[e.name, *(column.cell(e, comparison) for column in COLUMNS)] for e in entries]
    classes = [["class", *(e.name for e in entries)]]
    classes += [
        [name, *(formatting.percent(e.per_class[i]) for e in entries)]
        for i, name in enumerate(comparison.class_names)
    ]
    meanings = [f"- {column.heading}: {column.meaning}" for column in COLUMNS]
    notes = [f"- {e.name}: {e.note}" for e in entries if e.note]
    parts = [
        f"# {comparison.title}",
        f"{comparison.samples:,} samples; teacher: {comparison.teacher}.",
        _table(models),
        "\n".join([*meanings, *notes]),
        f"{comparison.student} and {comparison.teacher} predict different classes for "
        f"{comparison.disagreeing:,} samples.",
        "## Accuracy per class",
        _table(classes),
        "; ".join(f"{key}: {value}" for key, value in comparison.about.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
