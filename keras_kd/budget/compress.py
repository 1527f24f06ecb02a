"""From a budget to a file: one call that chooses the student, distills, exports and verifies."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_kd.budget.compression import Compression
from keras_kd.budget.limits import Limits
from keras_kd.budget.outcome import finish
from keras_kd.budget.plan import TRIALS
from keras_kd.budget.problem import make_problem
from keras_kd.budget.progress import Progress
from keras_kd.budget.run import Run
from keras_kd.budget.students import Builder, Students


def compress(
    teacher: keras.Model,
    train: Any,
    validation: Any,
    *,
    max_bytes: float | None = None,
    max_latency_us: float | None = None,
    max_macs: float | None = None,
    max_drop: float | None = None,
    test: Any = None,
    students: Sequence[keras.Model | Builder] | None = None,
    labels: bool = True,
    outputs: str = "auto",
    class_names: Sequence[str] | None = None,
    trials: int | None = None,
    time_limit: float | None = None,
    path: str | Path = "compressed",
    storage: str | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> Compression:
    """Find the best .tflite file within a budget: choose the student, distill, export, verify.

    Students are shrunk from the teacher until their int8 file is within the limits: with the
    teacher's weights or random ones, and with the channels distributed in several ways. What cannot
    fit is not trained. Many students are trained shortly, with several losses and learning rates;
    the best ones go on, and the last ones are trained in full, with quantization-aware training if
    int8 costs more than a quarter of `max_drop`. They are written in several formats, verified and
    measured. Students are chosen by the validation data; the final numbers are from `test`.

    The search is an Optuna study in `path`. Called again with the same arguments, it continues, and
    ends with the file of an uninterrupted search (for limits other than the latency, whose
    measurement differs each time). Several processes with the same arguments share the work. Ctrl-C
    ends the search and returns the best file so far.

    Args:
        teacher: A trained `keras.Model` with one output, Functional or Sequential unless there are
            `students`.
        train: Training data: a `tf.data.Dataset` of batches, arrays `(x, y)`, or a `PyDataset`.
            They are read once, so random augmentation in them is frozen, and must fit into memory.
        validation: Data that students and files are chosen by, in the same forms. Without labels,
            the teacher's predictions are the labels.
        max_bytes: The largest size of the file in bytes. Defaults to `None`, any.
        max_latency_us: The longest run on one thread of this machine, in microseconds, as
            `kd.export.benchmark` measures it. Defaults to `None`, any.
        max_macs: The most multiply-accumulate operations of a run. Defaults to `None`, any.
        max_drop: Points of accuracy (of R² for numbers) that the file may be below the teacher on
            the validation data. Alone, it asks for the smallest such file. With other limits, the
            most accurate file within them is chosen. Defaults to `None`, any.
        test: Data for the final numbers. Defaults to `None`: half of `validation`, which the search
            then does not see.
        students: More students to try: built models, or functions of an `optuna.Trial` that return
            one, such as `lambda trial: build(trial.suggest_int("width", 8, 64))`. Defaults to none.
        labels: Whether to train on the labels too. Defaults to `True`.
        outputs: What the output is, as for `kd.export.evaluate`. Defaults to `"auto"`.
        class_names: Names of the classes, for the file's metadata and the report. Defaults to none.
        trials: Number of students of the first stage. Defaults to 12.
        time_limit: Seconds after which the best student so far is trained with what is left of the
            time. Defaults to `None`: all trainings, which cost about as much as four in full.
        path: A folder for the search and its files. Defaults to `"compressed"`.
        storage: An Optuna storage URL, for processes on several machines. Defaults to `None`:
            SQLite in `path`.
        seed: Seed of everything random. Defaults to 0.
        verbose: 1 for a line per training, 0 for no output. Defaults to 1.

    Returns:
        The `Compression`.

    Raises:
        BudgetError: If no file is within the limits; its `compression` has the nearest file. If no
            student can be small enough, only the smallest one is trained, briefly.
        ValueError: If there is no limit, an argument is invalid, the data do not fit the teacher,
            or `path` has a search with other arguments.
        ModuleNotFoundError: If Optuna is not installed.

    Example:
        >>> result = kd.compress(teacher, train, validation, test=test, max_bytes=60_000)
        >>> result.best.path, result.drop
        (PosixPath('compressed/best.tflite'), 0.31)

    Reference:
        Successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943.
    """
    limits = Limits(max_bytes, max_latency_us, max_macs, max_drop)
    _check(trials, time_limit)
    start = time.monotonic()
    given = {"labels": labels, "outputs": outputs, "class_names": class_names}
    problem = make_problem(teacher, train, validation, test, **given)
    own = list(students or ())
    run = Run(
        problem=problem,
        limits=limits,
        students=Students(teacher, own),
        folder=Path(path),
        trials=TRIALS if trials is None else trials,
        seed=seed,
        deadline=None if time_limit is None else start + time_limit,
        progress=Progress(verbose),
        start=start,
    )
    about = run.describe({"students": own, **given})
    return finish(run, run.search(about, storage))


def _check(trials: int | None, time_limit: float | None) -> None:
    for name, value in (("trials", trials), ("time_limit", time_limit)):
        if value is not None and value < (1 if name == "trials" else 0):
            raise ValueError(f"`{name}` must be a positive number. Received: {name}={value}")
