"""A report as Markdown: the tables, for a pull request or a README."""

from keras_kd.report import formatting as words
from keras_kd.report.columns import COLUMNS
from keras_kd.report.report import Report


def markdown(report: Report) -> str:
    """Returns a report's numbers as Markdown."""
    header = ["model", *(column.heading for column in COLUMNS)]
    rows = [
        [entry.name, *(column.cell(entry, report) for column in COLUMNS)]
        for entry in report.entries
    ]
    classes = [["class", *(entry.name for entry in report.entries)]]
    for i, name in enumerate(report.class_names):
        classes.append([name, *(words.percent(e.per_class[i]) for e in report.entries)])
    meanings = [f"- {column.heading}: {column.meaning}" for column in COLUMNS]
    notes = [f"- {entry.name}: {entry.note}" for entry in report.entries if entry.note]
    about = [f"{key}: {value}" for key, value in report.about.items()]
    parts = [
        f"# {report.title}",
        f"{report.samples:,} samples; teacher: {report.teacher}.",
        _table([header, *rows]),
        "\n".join([*meanings, *notes]),
        f"{report.student} and {report.teacher} differ on {report.disagreeing:,} samples.",
        "## Accuracy of each class",
        _table(classes),
        "; ".join(about),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
