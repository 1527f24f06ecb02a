"""The report page of a search: all files beside the teacher and the limits, and all trainings."""

from collections.abc import Callable, Sequence
from importlib import resources

from keras_kd.budget.compression import Compression
from keras_kd.budget.files import CompressedFile
from keras_kd.budget.progress import describe_config, format_seconds
from keras_kd.display.templates import make_environment
from keras_kd.files import atomic_write
from keras_kd.report import charts, formatting
from keras_kd.report.charts import Point
from keras_kd.report.compare import describe_environment

_TEACHER = 0
#: The number that selects the color of a format.
_COLORS = {"int8": 1, "dynamic": 2, "float16": 3, "float32": 4}
_FILES = ("size", "latency", "MACs", "validation", "test", "its Keras model")
_TRIALS = ("student, loss, learning rate", "part", "parameters", "score", "time")
_NUMBERS = "R²"


def write_page(compression: Compression, class_names: Sequence[str] | None) -> None:
    """Write the page of a search."""
    with atomic_write(compression.report) as temporary:
        temporary.write_text(render_page(compression, class_names), "utf-8")


def render_page(compression: Compression, class_names: Sequence[str] | None = None) -> str:
    """Return the page of a search as HTML."""
    environment = make_environment("budget")
    chosen = compression.chosen
    verb = "is within" if compression.met else "is nearest to, and not within,"
    about = describe_environment()
    about |= {"classes": ", ".join(class_names)} if class_names else {}
    return environment.get_template("page.html.jinja").render(
        style=resources.files("keras_kd.report").joinpath("style.css").read_text("utf-8"),
        title=f"{compression.best.path.name}: {formatting.size(chosen.size)}",
        summary=f"{chosen.path.name} {verb} {compression.limits}. It is written as "
        f"{compression.best.path}, and its Keras model as student.keras.",
        cards=_cards(compression),
        legend=[
            ("teacher, as float32 file", charts.color_class(_TEACHER)),
            *((name, charts.color_class(number)) for name, number in _COLORS.items()),
        ],
        charts=_charts(compression),
        score_name=compression.score_name,
        file_headings=_FILES,
        files=_file_rows(compression),
        test=compression.test,
        trial_headings=_TRIALS,
        trials=_trial_rows(compression),
        advices=_advices(compression),
        notes=compression.notes,
        about={"time": format_seconds(compression.seconds), **about},
    )


def _show(compression: Compression) -> Callable[[float | None], str]:
    """Return how scores are written."""
    return formatting.decimal if compression.score_name == _NUMBERS else formatting.percent


def _cards(compression: Compression) -> list[tuple[str, str, str]]:
    """Return the headline numbers: each with its name and an explanation."""
    chosen, teacher, show = compression.chosen, compression.teacher, _show(compression)
    drop = f"{abs(compression.drop):.2f} points {'below' if compression.drop > 0 else 'above'}"
    relation = f"{drop} the teacher ({show(teacher['test_score'])}), on the test data"
    cards = [(show(chosen.test_score), compression.score_name, relation)]
    for ours, theirs, text, word in (
        (chosen.size, teacher["size"], formatting.size, "smaller"),
        (chosen.latency_us, teacher["latency_us"], formatting.duration, "faster"),
    ):
        if ours and theirs:
            ratio = f"{formatting.ratio(theirs / ours)} {word}"
            cards.append((text(ours), ratio, f"than the teacher ({text(theirs)})"))
    return cards


def _charts(compression: Compression) -> list[tuple[str, str]]:
    """Return titles and charts of the score against size and against latency."""
    limits, teacher = compression.limits, compression.teacher
    numbers = compression.score_name == _NUMBERS
    factor, axis = (1, _NUMBERS) if numbers else (100, f"{compression.score_name}, %")
    least = None
    if limits.max_drop is not None:
        least = factor * (teacher["score"] - limits.max_drop / 100)
    found = []
    for key, unit, limit, label in (
        ("size", 1e3, limits.max_bytes, "size of the file, kB (logarithmic)"),
        ("latency_us", 1, limits.max_latency_us, "median latency, µs (logarithmic)"),
    ):
        points = [
            Point(
                _COLORS.get(file.quantization, 5),
                "chosen" if file == compression.chosen else file.path.name,
                getattr(file, key) / unit,
                factor * file.score,
                labeled=file == compression.chosen,
            )
            for file in compression.files
            if getattr(file, key)
        ]
        if teacher[key]:
            cost = teacher[key] / unit
            points.append(Point(_TEACHER, "teacher", cost, factor * teacher["score"]))
        most = None if limit is None else limit / unit
        if points:
            title = f"{compression.score_name.capitalize()} against {key.partition('_')[0]}"
            found.append((title, charts.scatter(points, label, axis, limits=(most, least))))
    return found


def _file_rows(compression: Compression) -> list[tuple[str, str, list[str], bool]]:
    show = _show(compression)

    def cells(file: CompressedFile) -> list[str]:
        costs = [formatting.size(file.size), formatting.duration(file.latency_us)]
        scores = map(show, (file.score, file.test_score, file.model_score))
        return [*costs, formatting.count(file.macs), *scores]

    rows = [
        (
            file.path.name,
            charts.color_class(_COLORS.get(file.quantization, 5)),
            cells(file),
            file == compression.chosen,
        )
        for file in compression.files
    ]
    teacher = compression.teacher
    costs = [formatting.size(teacher["size"]), formatting.duration(teacher["latency_us"])]
    scores = [show(teacher["score"]), show(teacher["test_score"]), show(teacher["score"])]
    own = [*costs, formatting.count(teacher["macs"]), *scores]
    rows.append(("teacher, as float32 file", charts.color_class(_TEACHER), own, False))
    return rows


def _trial_rows(compression: Compression) -> list[tuple[str, list[str]]]:
    show, rows = _show(compression), []
    for result in compression.results:
        values, slot = result.values, result.slot
        trained = "reason" not in values
        score = values.get("keras_score")
        cells = [
            describe_config(slot.config, values),
            "full" if slot.part == 1 else f"{100 * slot.part:.0f} %",
            formatting.count(values.get("parameters")),
            show(score) if trained else values["reason"],
            format_seconds(values["seconds"]) if trained else "",
        ]
        rows.append((slot.name, cells))
    return rows


def _advices(compression: Compression) -> list[str]:
    """Return what may give a better file."""
    found = []
    if compression.interrupted:
        found.append("The search was interrupted: call it again with the same arguments to go on.")
    if not compression.met:
        found.append("Raise a limit: no file is within all of them.")
    chosen = compression.chosen
    lost = 100 * (chosen.model_score - chosen.score)
    if chosen.quantization == "int8" and lost > 0.2:
        found.append(f"int8 costs {lost:.2f} points: kd.compression.quantize_aware for longer.")
    if compression.results:
        found.append(
            "Train the chosen student for longer, with augmentation: load student.keras, and "
            "distill it with kd.Distiller(augment=...)."
        )
        found.append("Raise `trials`, or pass own architectures as `students`.")
    if compression.drop > 1:
        found.append("A better teacher: the student cannot learn what it does not know.")
    return found or ["Lower the limit: the teacher itself is within it."]
