"""Teacher, student and files side by side on one data set."""

import contextlib
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.report.costs import cost_of
from keras_kd.report.metrics import Marks, interval
from keras_kd.report.predict import ask_all
from keras_kd.report.predictors import Answerer
from keras_kd.report.report import Entry, Report, require_report_place
from keras_kd.version import __version__


def compare(
    models: Mapping[str, keras.Model | TFLiteModel | str | os.PathLike],
    dataset: Iterable[Any],
    path: str | os.PathLike | None = None,
    *,
    teacher: str | None = None,
    student: str | None = None,
    class_names: Sequence[str] | None = None,
    history: Mapping[str, Any] | None = None,
    title: str = "What distillation won",
    samples: int = 24,
    runs: int = 200,
    verbose: int = 0,
) -> Report:
    """Compares models and .tflite files on one data set, and writes one page.

    Each model runs once over the data, files through LiteRT in processes of their own. The size,
    multiplications and time of a Keras model are those of its float32 file. Whether an output is
    logits or probabilities is seen from its values.

    Args:
        models: By the name that the report gives it: a `keras.Model` of one output, what
            `to_tflite` returned, or the path of a .tflite file.
        dataset: Batches of `(x, y)`, as the Keras models take them: a `tf.data.Dataset` or another
            iterable. Labels are integers (-1 for none) or one-hot.
        path: Where to write: `.html`, one file that needs nothing else, `.md` or `.json`. Defaults
            to `None`: nowhere.
        teacher: The name of the model that the others are held against. Defaults to the first.
        student: The name of the model whose answers are shown beside the teacher's. Defaults to the
            last.
        class_names: The names of the classes. Defaults to their numbers.
        history: By model: a `keras.callbacks.History`, or a dictionary of curves. Defaults to none.
        title: The heading. Defaults to "What distillation won".
        samples: How many samples to show on which teacher and student part. Defaults to 24.
        runs: How many runs of each file to time. Defaults to 200.
        verbose: 1 for a progress bar, 0 for silence. Defaults to 0.

    Returns:
        The `Report`; `save` writes it in other forms too.

    Raises:
        FileNotFoundError: If there is no such file.
        NotADirectoryError: If the folder of `path` does not exist.
        ValueError: If `path` has another ending, a name is none of the models', the data set is
            empty or has no labels, or models and labels do not fit.
        RuntimeError: If LiteRT cannot run a file.

    Example:
    >>> report = compare({"teacher": teacher, "int8": "student.tflite"}, test, "report.html")
    >>> report["int8"].accuracy, report["int8"].size
    (0.973, 27248)
    """
    names = list(models)
    teacher, student = _roles(names, teacher, student)
    if path is not None:
        require_report_place(Path(path))
    learned = {name: _curves(name, curves) for name, curves in (history or {}).items()}
    with contextlib.ExitStack() as stack:
        answerers = []
        for name in names:
            answerers.append(stack.enter_context(contextlib.closing(_answerer(name, models[name]))))
        marks, shown, count = ask_all(answerers, dataset, teacher, student, samples, verbose)
    entries = []
    for name in names:
        if verbose:
            print(f"Timing '{name}'.", flush=True)
        entries.append(_entry(name, models[name], marks[name], runs))
    classes = len(marks[teacher].per_class)
    report = Report(
        title=title,
        entries=tuple(entries),
        teacher=teacher,
        student=student,
        class_names=_class_names(class_names, classes),
        samples=count,
        disagreements=shown.samples(),
        disagreeing=shown.count,
        history=learned,
        about=_about(),
    )
    if path is not None:
        report.save(path)
    return report


def _roles(names: list[str], teacher: str | None, student: str | None) -> tuple[str, str]:
    """Returns the names of teacher and student.

    Raises:
        ValueError: If there are no two models, or one of the names is none of theirs.
    """
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two models to compare. Received: {names}. Give a teacher and a "
            "student, by name."
        )
    for argument, name in (("teacher", teacher), ("student", student)):
        if name is not None and name not in names:
            raise ValueError(
                f"Expected {argument}=... to be one of {names}. Received: {name!r}. Choose one."
            )
    return teacher or names[0], student or names[-1]


def _answerer(name: str, model: Any) -> Answerer:
    if isinstance(model, (keras.Model, str, os.PathLike)):
        return Answerer(name, model)
    if isinstance(model, TFLiteModel):
        return Answerer(name, model.path)
    raise TypeError(
        f"Expected Keras models and .tflite files. Received: {model!r} for '{name}'. Give a "
        "`keras.Model`, what `to_tflite` returned, or a path."
    )


def _entry(name: str, model: Any, marks: Marks, runs: int) -> Entry:
    return Entry(
        name=name,
        accuracy=marks.accuracy,
        interval=interval(marks.accuracy, marks.labelled),
        per_class=marks.per_class,
        calibration_error=marks.calibration_error,
        agreement=marks.agreement,
        divergence=marks.divergence,
        **cost_of(model, runs),
    )


def _class_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(count)))
    if len(names) != count:
        raise ValueError(
            f"Expected {count} class_names. Received: {len(names)}. Name each class, in order."
        )
    return tuple(map(str, names))


def _curves(name: str, given: Any) -> dict[str, tuple[float, ...]]:
    """Returns the curves of a training as numbers.

    Raises:
        TypeError: If they are none.
    """
    curves = given.history if isinstance(given, keras.callbacks.History) else given
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"Expected the history of '{name}' as `fit` returns it, or its dictionary. Received: "
            f"{type(given).__name__}. Pass `history={{{name!r}: model.fit(...)}}`."
        )
    return {key: tuple(map(float, values)) for key, values in curves.items()}


def _about() -> dict[str, str]:
    # TensorFlow may be installed as tensorflow-cpu; LiteRT is imported in processes of its own.
    versions = (
        f"keras_kd {__version__}, keras {keras.__version__}, tensorflow {tf.__version__}, "
        f"ai-edge-litert {version('ai-edge-litert')}"
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }
