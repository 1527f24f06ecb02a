"""A report as Markdown: the tables, for a pull request or a README."""

from keras_kd.report.class_tables import class_table, frequent_confusions
from keras_kd.report.columns import columns_of
from keras_kd.report.entries import Comparison
from keras_kd.report.outcome import describe_outcome


def render_markdown(comparison: Comparison) -> str:
    """Return the numbers of a comparison as Markdown."""
    entries, columns = comparison.entries, columns_of(comparison)
    models = [["model", *(column.heading for column in columns)]]
    models += [[e.name, *(column.cell(e, comparison) for column in columns)] for e in entries]
    meanings = [f"- {column.heading}: {column.meaning}" for column in columns]
    notes = [f"- {e.name}: {e.note}" for e in entries if e.note]
    parts = [
        f"# {comparison.title}",
        describe_outcome(comparison),
        _table(models),
        "\n".join([*meanings, *notes]),
        *_class_parts(comparison),
        "; ".join(f"{key}: {value}" for key, value in comparison.about.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _class_parts(comparison: Comparison) -> list[str]:
    """Return the sections on classes or labels, none for numbers."""
    parts = []
    if comparison.task in ("classes", "binary"):
        parts.append(
            f"{comparison.student} and {comparison.teacher} predict different classes for "
            f"{comparison.disagreeing:,} samples."
        )
    if comparison.class_names:
        kind = "label" if comparison.task == "labels" else "class"
        parts += [f"## Accuracy per {kind}", _table(class_table(comparison))]
    errors = frequent_confusions(comparison)
    if errors:
        counts = (comparison.student, comparison.teacher)
        rows = [[label, predicted, str(s), str(t)] for label, predicted, s, t in errors]
        parts += ["## Most frequent errors", _table([["class", "predicted", *counts], *rows])]
    return parts


def _table(rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
