"""Compare a teacher, its students and their files on one data set."""

import contextlib
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.models.graph import require_built
from keras_kd.models.task import MEANINGS
from keras_kd.report.costs import measure_costs
from keras_kd.report.entries import Entry
from keras_kd.report.predict import Metrics, predict_all
from keras_kd.report.predictors import Predictor
from keras_kd.report.report import Report, require_report_path
from keras_kd.report.roles import find_roles
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
    title: str = "Comparison",
    samples: int = 24,
    runs: int = 200,
    verbose: int = 0,
    outputs: str | Mapping[str, str] = "auto",
    ignore_class: int | None = None,
) -> Report:
    """Compare models and .tflite files on one data set, and write one page.

    Each model runs once over the data; files run in LiteRT in separate processes. The size, the
    operations and the latency of a Keras model are those of its float32 file. The metrics are those
    of the task: classes, a yes-or-no question, independent labels or numbers (regression). It
    follows from `outputs`, the losses that the models are compiled with, a final softmax or
    sigmoid, and then the labels.

    Args:
        models: Models by their names in the report: a `keras.Model` with one output, the result of
            `to_tflite`, or the path of a .tflite file.
        dataset: Batches of `(x, y)` in the form that the Keras models take: a `tf.data.Dataset`,
            another iterable, or arrays. Labels are integers (-1 for none) or one-hot for classes,
            and have the shape of the output otherwise; NaN is a missing label.
        path: Output file: `.html`, a self-contained page, `.md` or `.json`. Defaults to `None`, no
            file.
        teacher: Name of the model that the others are compared with. Defaults to the one that is
            called `"teacher"` (or `"teacher.keras"`, ...), or else to the first.
        student: Name of the model whose gain or loss is the first line of the report, and whose
            disagreements with the teacher are shown. Defaults to the only other model, or to the
            one that is called `"student"`.
        class_names: Names of the classes or of the independent labels. Defaults to their numbers.
        history: Learning curves by model: a `keras.callbacks.History` or a dictionary. Defaults to
            none.
        title: The heading. Defaults to `"Comparison"`.
        samples: Number of disagreements to show. Defaults to `24`.
        runs: Number of timed runs per file. Defaults to `200`.
        verbose: 1 for a progress bar, 0 for no output. Defaults to `0`.
        outputs: What the outputs are, if it cannot be detected: `"logits"`, `"probabilities"`,
            `"values"`, or a task, `"classes"`, `"binary"` or `"labels"`; for all models, or in a
            dictionary by the names of models. Defaults to `"auto"`.
        ignore_class: A label that is not counted, such as 255 for void pixels. Defaults to `None`,
            that of the loss that a model is compiled with.

    Returns:
        The `Report`; `save` writes it in other formats.

    Raises:
        TypeError: If `models` is not a dictionary, or one is neither a model nor a file.
        FileNotFoundError: If a file does not exist.
        NotADirectoryError: If the folder of `path` does not exist.
        ValueError: If `path` has another ending, `teacher`, `student` or a name in `history` is not
            one of the models, several may be the student, the data set is empty or has no labels,
            models and labels do not match, or the models have different tasks.
        RuntimeError: If LiteRT cannot run a file.

    Example:
        >>> report = compare({"teacher": teacher, "int8": "student.tflite"}, test, "report.html")
        >>> report["int8"].accuracy, report["int8"].size
        (0.973, 27248)
    """
    names = _names(models)
    teacher, student = find_roles(names, teacher, student)
    if path is not None:
        require_report_path(Path(path))
    curves = _read_history(history, names)
    with _open_predictors(models, _declarations(outputs, names)) as predictors:
        found = predict_all(predictors, dataset, teacher, student, samples, verbose, ignore_class)
    metrics, changes = found.metrics, found.changes
    class_names = _check_class_names(class_names, metrics[teacher])
    entries = [_make_entry(n, models[n], metrics[n], runs, verbose) for n in names]
    report = Report(
        title=title,
        entries=tuple(entries),
        teacher=teacher,
        student=student,
        class_names=class_names,
        samples=found.samples,
        disagreements=found.disagreements.samples(),
        disagreeing=found.disagreements.count,
        history=curves,
        about=describe_environment(),
        task=metrics[teacher].task,
        changes=changes.by_class() if changes else (),
        confusions=changes.confusions() if changes else (),
    )
    if path is not None:
        report.save(path)
    return report


def _names(models: Any) -> list[str]:
    """Return the names of the models.

    Raises:
        TypeError: If they are not in a dictionary.
    """
    if not isinstance(models, Mapping):
        raise TypeError(
            "Expected `models` by their names in the report: {'teacher': teacher, 'student': "
            f"student}}. Received: models of type {type(models).__name__}. Make it a dictionary."
        )
    return list(models)


def _declarations(outputs: Any, names: Sequence[str]) -> dict[str, str]:
    """Return what the output of each model is declared as.

    Raises:
        ValueError: If a name is not one of a model.
    """
    if not isinstance(outputs, Mapping):
        return dict.fromkeys(names, outputs)
    _require_names(outputs, names, "outputs")
    return {name: outputs.get(name, "auto") for name in names}


def _require_names(given: Mapping[str, Any], names: Sequence[str], argument: str) -> None:
    """Reject values for models that are not compared.

    Raises:
        ValueError: If there are some.
    """
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(
            f"Expected `{argument}` by the names of the models {list(names)}. Received: one of "
            f"{unknown}. Rename or remove these."
        )


@contextlib.contextmanager
def _open_predictors(
    models: Mapping[str, Any], declared: Mapping[str, str]
) -> Iterator[list[Predictor]]:
    """Open a predictor of each model, and close all of them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_open_predictor(name, model, declared[name]))
            for name, model in models.items()
        ]


def _open_predictor(name: str, model: Any, outputs: str) -> contextlib.closing[Predictor]:
    if isinstance(model, TFLiteModel):
        model = model.path
    if isinstance(model, keras.Model):
        require_built(model, f"'{name}'")
    if isinstance(model, (keras.Model, str, os.PathLike)):
        return contextlib.closing(Predictor(name, model, outputs))
    raise TypeError(
        f"Expected Keras models and .tflite files. Received: {model!r} for '{name}'. Pass a "
        "`keras.Model`, the result of `to_tflite`, or a path."
    )


def _make_entry(name: str, model: Any, metrics: Metrics, runs: int, verbose: int) -> Entry:
    if verbose:
        print(f"Timing '{name}'.", flush=True)
    return Entry(name=name, **metrics.fields(), **measure_costs(model, runs))


def _check_class_names(names: Sequence[str] | None, metrics: Metrics) -> tuple[str, ...]:
    count = len(metrics.per_class)
    if names is None:
        return tuple(map(str, range(count)))
    if len(names) != count:
        raise ValueError(
            f"Expected {count} `class_names` for outputs that are {MEANINGS[metrics.task]}. "
            f"Received: {len(names)}. Name each class or label, in order."
        )
    return tuple(map(str, names))


def _read_history(
    history: Mapping[str, Any] | None, names: Sequence[str]
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return the learning curves of the models that have some.

    Raises:
        TypeError: If one contains no curves.
        ValueError: If a name is not one of a model.
    """
    curves = {name: _read_curves(name, given) for name, given in (history or {}).items()}
    _require_names(curves, names, "history")
    return curves


def _read_curves(name: str, history: Any) -> dict[str, tuple[float, ...]]:
    """Return learning curves as numbers.

    Raises:
        TypeError: If `history` contains none.
    """
    curves = history.history if isinstance(history, keras.callbacks.History) else history
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"Expected the history of '{name}' as `fit` returns it, or its dictionary. Received: "
            f"{type(history).__name__}. Pass `history={{{name!r}: model.fit(...)}}`."
        )
    return {key: tuple(map(float, values)) for key, values in curves.items()}


def describe_environment() -> dict[str, str]:
    """Return the date, the machine and the versions that numbers depend on."""
    # TensorFlow may be installed as tensorflow-cpu, LiteRT is not imported in this process.
    versions = (
        f"keras_kd {__version__}, keras {keras.__version__}, tensorflow {tf.__version__}, "
        f"ai-edge-litert {version('ai-edge-litert')}"
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }
