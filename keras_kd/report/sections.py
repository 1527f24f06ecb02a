"""The sections of a report's page, each as HTML."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
import tensorflow as tf

from keras_kd.report import charts
from keras_kd.report import formatting as words
from keras_kd.report.columns import COLUMNS
from keras_kd.report.report import Entry, Report, Sample

_BARS = 20  # classes


def headline(report: Report) -> str:
    """What the student won against the teacher, in three numbers."""
    teacher, student = report[report.teacher], report[report.student]
    lost = teacher.accuracy - student.accuracy
    apart = f"{abs(100 * lost):.2f} points {'below' if lost > 0 else 'above'}"
    cards = [
        (
            words.percent(student.accuracy),
            "right answers",
            f"{apart if lost else 'as many as'} the teacher's {words.percent(teacher.accuracy)}",
        )
    ]
    for mine, theirs, reads, less in (
        (student.size, teacher.size, words.size, "smaller"),
        (student.latency_us, teacher.latency_us, words.duration, "faster"),
    ):
        if mine and theirs:
            ratio = f"{words.times(theirs / mine)} {less}"
            cards.append((ratio, f"than the teacher's {reads(theirs)}", f"{reads(mine)} now"))
    items = "".join(
        f'<div class="card"><b>{escape(number)}</b><span>{escape(what)}</span>'
        f"<small>{escape(more)}</small></div>"
        for number, what, more in cards
    )
    return (
        f'<header><p class="eyebrow">keras_kd report</p><h1>{escape(report.title)}</h1>'
        f"<p>From <em>{escape(teacher.name)}</em> to <em>{escape(student.name)}</em>, on "
        f"{report.samples:,} samples.</p></header>"
        f'<section class="cards">{items}</section>'
    )


def legend(report: Report) -> str:
    """The names of the models, with their colours."""
    items = "".join(
        f'<li class="m{i % 8}"><i></i>{escape(entry.name)}</li>'
        for i, entry in enumerate(report.entries)
    )
    return f'<ul class="legend" aria-label="Models">{items}</ul>'


def table(report: Report) -> str:
    """The table of the models, and what its columns mean."""
    best = _best(report.entries)
    head = "".join(f'<th title="{escape(c.meaning)}">{escape(c.heading)}</th>' for c in COLUMNS)
    rows = []
    for i, entry in enumerate(report.entries):
        cells = "".join(
            f'<td data-metric="{c.key}" data-heading="{escape(c.heading)}"'
            f"{' class=best' if best.get(c.key) == entry.name else ''}>"
            f"{escape(c.cell(entry, report))}</td>"
            for c in COLUMNS
        )
        rows.append(
            f'<tr data-model="{escape(entry.name)}"><th scope="row" class="m{i % 8}"><i></i>'
            f"{escape(entry.name)}<small>{escape(entry.kind)}</small></th>{cells}</tr>"
        )
    notes = "".join(
        f'<p class="note">{escape(e.name)}: {escape(e.note)}</p>' for e in report.entries if e.note
    )
    meanings = "".join(f"<dt>{escape(c.heading)}</dt><dd>{escape(c.meaning)}</dd>" for c in COLUMNS)
    return (
        f'<section><h2>Side by side</h2><div class="scroll"><table class="models"><thead><tr>'
        f"<th>model</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}"
        f"<details><summary>What the columns mean</summary><dl>{meanings}</dl></details></section>"
    )


def _best(entries: Sequence[Entry]) -> dict[str, str]:
    """Returns the name of the best model by column, where there is one."""
    found = {}
    for key, sign in (("accuracy", -1), ("size", 1), ("gzip_size", 1), ("latency_us", 1)):
        values = [(sign * getattr(e, key), e.name) for e in entries if getattr(e, key) is not None]
        if values:
            found[key] = min(values)[1]
    return found


def cost_charts(report: Report) -> str:
    """Accuracy against size and against time."""
    figures = []
    for key, unit, title, label in (
        ("size", 1e3, "Accuracy against size", "size of the file, kB (logarithmic)"),
        ("latency_us", 1, "Accuracy against latency", "median time, µs (logarithmic)"),
    ):
        points = [
            charts.Point(i, entry.name, getattr(entry, key) / unit, 100 * entry.accuracy)
            for i, entry in enumerate(report.entries)
            if getattr(entry, key)
        ]
        if len(points) > 1:
            chart = charts.scatter(points, label, "accuracy, %")
            figures.append(f"<figure><figcaption>{title}</figcaption>{chart}</figure>")
    if not figures:
        return ""
    return (
        f'<section><h2>What accuracy costs</h2><div class="charts">{"".join(figures)}</div>'
        '<p class="hint">Ringed and joined: the Pareto front, which no other model beats in both.'
        "</p></section>"
    )


def curves(report: Report) -> str:
    """The learning curves: accuracies, then losses."""
    numbers = {entry.name: i for i, entry in enumerate(report.entries)}
    figures = []
    for kind, title, scale in (("acc", "Accuracy", 100), ("loss", "Loss", 1)):
        drawn = []
        for order, (name, found) in enumerate(report.history.items()):
            number = numbers.get(name, len(numbers) + order)
            own = [key for key in found if kind in key and not key.startswith("val_")]
            key = "loss" if kind == "loss" else next(iter(own), "accuracy")
            held_out = f"val_{key}"
            # A distiller's training loss is of another kind than a loss on labels.
            shown = [held_out] if kind == "loss" and held_out in found else [key, held_out]
            for curve in (c for c in shown if c in found):
                training = curve == key and held_out in found
                drawn.append((number, name, [scale * value for value in found[curve]], training))
        if drawn:
            unit = "accuracy, %" if kind == "acc" else "loss"
            chart = charts.lines(drawn, unit)
            figures.append(f"<figure><figcaption>{title}</figcaption>{chart}</figure>")
    if not figures:
        return ""
    return (
        f'<section><h2>How they learned</h2><div class="charts">{"".join(figures)}</div>'
        '<p class="hint">Thin: on training data. A student learns from soft targets more slowly at '
        "first and goes further.</p></section>"
    )


def classes(report: Report) -> str:
    """Bars of the wrong answers of each class, and the table of the right ones."""

    def wrong(entry: Entry, i: int) -> float | None:
        share = entry.per_class[i]
        return None if share is None else 100 * (1 - share)

    spread = {
        i: max((wrong(e, i) or 0.0) for e in report.entries) for i in range(len(report.class_names))
    }
    shown = sorted(sorted(spread, key=lambda i: -spread[i])[:_BARS])
    groups = [
        (
            report.class_names[i],
            [(n, e.name, wrong(e, i)) for n, e in enumerate(report.entries)],
        )
        for i in shown
    ]
    some = f" The {_BARS} classes with the most." if len(spread) > _BARS else ""
    head = "".join(f"<th>{escape(entry.name)}</th>" for entry in report.entries)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{words.percent(e.per_class[i], 1)}</td>" for e in report.entries)
        + "</tr>"
        for i, name in enumerate(report.class_names)
    )
    return (
        '<section><h2>Class by class</h2><div class="classes"><figure><figcaption>Wrong answers'
        f"</figcaption>{charts.bars(groups, 'wrong answers of the class, %')}</figure>"
        f'<div class="scroll"><table><thead><tr><th>right answers</th>{head}</tr></thead><tbody>'
        f'{rows}</tbody></table></div></div><p class="hint">Shorter bars are better.{some}</p>'
        "</section>"
    )


def disagreements(report: Report) -> str:
    """The samples on which teacher and student part."""
    names = report.class_names
    if not report.disagreeing:
        return (
            f"<section><h2>Where they part</h2><p>{escape(report.student)} and "
            f"{escape(report.teacher)} give the same answer to every sample.</p></section>"
        )
    cards = "".join(_sample(sample, names) for sample in report.disagreements)
    share = report.disagreeing / report.samples
    return (
        f"<section><h2>Where they part</h2><p><em>{escape(report.student)}</em> answers otherwise "
        f"than <em>{escape(report.teacher)}</em> on {report.disagreeing:,} samples "
        f"({words.percent(share)}). Those on which they are furthest apart:</p>"
        f'<div class="samples">{cards}</div></section>'
    )


def _sample(sample: Sample, names: Sequence[str]) -> str:
    picture = '<div class="blank">no image</div>'
    if sample.image is not None:
        picture = f'<img alt="sample {sample.position}" src="{_png(sample.image)}">'

    def line(who: str, answer: int, probability: float | None) -> str:
        right = "" if sample.label is None else "right" if answer == sample.label else "wrong"
        sure = "" if probability is None else f" {100 * probability:.0f} %"
        return (
            f'<li class="{right}"><span>{who}</span><b>{escape(names[answer])}</b>'
            f"<small>{sure}</small></li>"
        )

    label = "" if sample.label is None else escape(names[sample.label])
    return (
        f'<figure class="sample">{picture}<figcaption>{label}<small>#{sample.position}</small>'
        f"</figcaption><ul>{line('teacher', sample.teacher, sample.teacher_probability)}"
        f"{line('student', sample.student, sample.student_probability)}</ul></figure>"
    )


def _png(image: np.ndarray) -> str:
    """Returns an image as a data URL; large ones are halved until they are small."""
    while max(image.shape[:2]) > 256:
        image = image[::2, ::2]
    pixels = np.uint8(np.round(np.clip(image, 0, 1) * 255))
    png = tf.io.encode_png(pixels).numpy()
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def about(report: Report) -> str:
    """How the numbers were made."""
    noise = max((e.noise for e in report.entries if e.noise is not None), default=None)
    unsure = (
        ""
        if noise is None
        else f" Times are unsure by up to {words.percent(noise, 0)} here (half the distance of the "
        "quartiles of the medians of blocks of runs)."
    )
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.about.items())
    return (
        "<footer><p>Accuracies are of the models themselves, files run through LiteRT. Size, MACs "
        "and time of a Keras model are those of its float32 file, one sample at a time on one "
        f"thread.{unsure}</p><dl>{items}</dl></footer>"
    )
