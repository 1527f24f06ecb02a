"""Born-again networks: each generation is distilled from the previous one."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_kd.distillers.fit import list_callbacks
from keras_kd.files import atomic_write, read_json, text_fields, write_json
from keras_kd.models.graph import require_built
from keras_kd.recipes.stage import StageTrainer
from keras_kd.teachers.fingerprint import config_digest
from keras_kd.training.keywords import explain_keywords

_ABOUT = "about.json"


@dataclass(frozen=True)
class BornAgainResult:
    """Result of `born_again`.

    Attributes:
        students: The trained students of all generations; the first one is trained on labels only.
        histories: The `History` of each generation; after a resume, of the remaining epochs.
    """

    students: tuple[keras.Model, ...]
    histories: tuple[keras.callbacks.History, ...]

    def __repr__(self) -> str:
        return text_fields("BornAgainResult", {"students": [one.name for one in self.students]})

    @property
    def student(self) -> keras.Model:
        """The last generation."""
        return self.students[-1]


@explain_keywords(keras.Model.fit)
def born_again(
    build: Callable[[], keras.Model],
    x: Any,
    y: Any = None,
    *,
    generations: int = 3,
    loss: Any = None,
    optimizer: Any = "adam",
    metrics: Any = None,
    losses: Any = None,
    student_loss_weight: float = 0.5,
    distiller: dict[str, Any] | None = None,
    path: str | os.PathLike | None = None,
    **fit: Any,
) -> BornAgainResult:
    """Train a model, then train it again from scratch with the previous one as its teacher.

    Args:
        build: A function without arguments that returns a new built model.
        x: Training data, as for `fit`; samples may be unlabeled.
        y: Labels, if `x` holds arrays.
        generations: Number of students, at least 2. The first one is trained on labels only.
            Defaults to 3.
        loss: The loss on the labels, as for `compile`; required by the first generation.
        optimizer: A name or an optimizer; each generation gets a fresh copy. Defaults to `"adam"`.
        metrics: As for `compile`. Defaults to `None`.
        losses: Distillation losses without state, as for `Distiller`. Defaults to
            `kd.losses.SoftTargets()`.
        student_loss_weight: As for `Distiller`, for all generations except the first. Defaults to
            0.5.
        distiller: Other arguments of `Distiller`, such as `{"augment": ...}`, for all generations
            except the first. Defaults to `None`.
        path: A folder for this run. Finished generations are saved there and the current one is
            backed up after each epoch, so a killed run continues where it stopped. Another
            architecture, data set or setting is rejected; they are compared as in
            `kd.compression.pipeline`. Defaults to `None`.
        **fit: Arguments of `fit`: epochs, validation_data, callbacks, ...

    Returns:
        A `BornAgainResult`; its students together are an ensemble of teachers.

    Raises:
        TypeError: If `build` is not a function.
        ValueError: If there are fewer than two generations or no loss, `build` returns the same
            model twice, the folder has another run, or `callbacks` contain `BackupAndRestore`,
            which would restore the weights of one generation into another.

    Example:
        >>> result = kd.born_again(build, train, epochs=20, path="run",
        ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> result.student.save("student.keras")

    Reference:
        Furlanello et al. 2018, arXiv:1805.04770.
    """
    _check(build, generations, loss, fit.get("callbacks"))
    trainer = StageTrainer(loss, optimizer, metrics, losses, student_loss_weight, distiller)
    folder = None if path is None else Path(path)
    students, histories = [], []
    for number in range(generations):
        student = build()
        require_built(student, "What `build` returns")
        _require_new(student, students)
        if folder is not None and number == 0:
            _require_same_run(folder, student, x, {"y": y, **vars(trainer), **fit})
        history = _load_generation(student, number, folder)
        if history is None:
            settings = {**fit, "callbacks": _add_backup(fit.get("callbacks"), number, folder)}
            if students:
                history = trainer.distill(student, students[-1], x, y, **settings)
            else:
                history = trainer.train_alone(student, x, y, **settings)
            _save_generation(student, history, number, folder)
        students.append(student)
        histories.append(history)
    return BornAgainResult(tuple(students), tuple(histories))


def _require_same_run(folder: Path, student: keras.Model, x: Any, arguments: Any) -> None:
    """Record what the run depends on, or compare it with the record of an interrupted one."""
    # Not at the top: it needs TensorFlow.
    from keras_kd.recipes.fingerprints import Fingerprints, differing_names

    fingerprints = Fingerprints(x)
    described = {name: v for name, v in arguments.items() if name not in ("callbacks", "verbose")}
    about = fingerprints.describe({"build": config_digest(student), "x": x, "arguments": described})
    if (folder / _ABOUT).exists():
        differing = differing_names(read_json(folder / _ABOUT), about)
    else:
        differing = ["version of keras_kd"] if _weights_path(folder, 0).exists() else []
    if differing:
        raise ValueError(
            f"born_again: '{folder}' contains a run with other {', '.join(differing)}. Pass "
            "another path, or delete the folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _ABOUT, about)


def _add_backup(callbacks: Any, number: int, folder: Path | None) -> list[keras.callbacks.Callback]:
    if folder is None:
        return list_callbacks(callbacks)
    backup = keras.callbacks.BackupAndRestore(_backup_path(folder, number), delete_checkpoint=False)
    return [backup, *list_callbacks(callbacks)]


def _load_generation(
    student: keras.Model, number: int, folder: Path | None
) -> keras.callbacks.History | None:
    """Load a finished generation into the student and return its history, or `None`."""
    if folder is None or not _weights_path(folder, number).exists():
        return None
    student.load_weights(_weights_path(folder, number))
    history = keras.callbacks.History()
    history.history = read_json(_history_path(folder, number))
    history.epoch = list(range(max(map(len, history.history.values()), default=0)))
    return history


def _save_generation(
    student: keras.Model, history: keras.callbacks.History, number: int, folder: Path | None
) -> None:
    if folder is None:
        return
    values = {name: [float(v) for v in values] for name, values in history.history.items()}
    write_json(_history_path(folder, number), values)
    # The weights come last: they mark the generation as finished.
    with atomic_write(_weights_path(folder, number)) as temporary:
        student.save_weights(temporary)
    shutil.rmtree(_backup_path(folder, number))


def _weights_path(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}.weights.h5"


def _history_path(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}.json"


def _backup_path(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}_backup"


def _require_new(student: keras.Model, students: list[keras.Model]) -> None:
    known = {id(weight) for other in students for weight in other.weights}
    if any(id(weight) in known for weight in student.weights):
        raise ValueError(
            "born_again: `build` must return a new model for each call. Received: a model that "
            "shares weights with an earlier one"
        )


def _check(build: Any, generations: int, loss: Any, callbacks: Any) -> None:
    if not callable(build) or isinstance(build, keras.layers.Layer):
        raise TypeError(
            "born_again: `build` must be a function without arguments that returns a new built "
            f"model. Received: build={build!r}"
        )
    if generations != int(generations) or generations < 2:
        raise ValueError(
            "born_again: `generations` is the number of students, at least 2. "
            f"Received: generations={generations}"
        )
    if loss is None:
        raise ValueError(
            "born_again: the first generation is trained on labels, which needs a `loss`. "
            "Received: loss=None"
        )
    if any(isinstance(c, keras.callbacks.BackupAndRestore) for c in list_callbacks(callbacks)):
        raise ValueError(
            "born_again: BackupAndRestore would restore the weights of one generation into "
            'another. Pass `path="folder"` instead.'
        )
