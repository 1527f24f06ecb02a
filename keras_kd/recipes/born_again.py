"""Born-again networks: each generation is taught by the one before it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_kd.distillers.fit import list_callbacks
from keras_kd.models.graph import require_built
from keras_kd.recipes.stage import Stages


@dataclass(frozen=True)
class Generations:
    """What `born_again` gives.

    Attributes:
        students: The students of all generations, trained, the first one from labels alone.
        histories: The `History` of each; of one that was resumed, from there on.
    """

    students: tuple[keras.Model, ...]
    histories: tuple[keras.callbacks.History, ...]

    @property
    def student(self) -> keras.Model:
        """The last generation."""
        return self.students[-1]


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
) -> Generations:
    """Trains a model, then the same model anew with the trained one as its teacher, and so on.

    Args:
        build: Makes the student anew: a function of no arguments that returns a built model.
        x: Training data, as for `fit`; samples may have no label.
        y: Labels, if `x` holds arrays.
        generations: How many students there are, the first of which learns from labels alone; at
            least 2. Defaults to 3.
        loss: The loss on the labels, as for `compile`; the first generation cannot do without.
        optimizer: A name, or an optimizer of which each generation gets a fresh copy. Defaults to
            `"adam"`.
        metrics: As for `compile`.
        losses: Distillation losses, as for `Distiller`, by name or configuration or as losses
            without state. Defaults to `kd.losses.SoftTargets()`.
        student_loss_weight: As for `Distiller`, of all generations but the first.
        distiller: Other arguments of `Distiller`, such as `{"augment": ...}`, for all but the
            first.
        path: A folder of its own for this run, where each generation is kept and the one at work
            is backed up after each epoch: a call that was killed goes on where it was. Defaults to
            `None`.
        **fit: Arguments of `fit`: epochs, validation_data, callbacks, ...

    Returns:
        The `Generations`; all of them together make a good committee of teachers.

    Raises:
        TypeError: When `build` is no function.
        ValueError: When there are fewer than two generations or there is no loss, `build` gives the
            same model twice, or `callbacks` hold a `BackupAndRestore`, which would restore one
            generation's weights in another.

    Example:
        >>> result = kd.born_again(build, train, epochs=20, path="run",
        ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> result.student.save("student.keras")

    Reference:
        Furlanello et al. 2018, arXiv:1805.04770.
    """
    _check(build, generations, loss, fit.get("callbacks"))
    stages = Stages(loss, optimizer, metrics, losses, student_loss_weight, distiller)
    folder = None if path is None else Path(path)
    students, histories = [], []
    for number in range(generations):
        student = build()
        require_built(student, "What `build` returns")
        _require_new(student, students)
        history = _recalled(student, number, folder)
        if history is None:
            settings = {**fit, "callbacks": _callbacks(fit.get("callbacks"), number, folder)}
            if students:
                history = stages.taught(student, students[-1], x, y, **settings)
            else:
                history = stages.untaught(student, x, y, **settings)
            _keep(student, history, number, folder)
        students.append(student)
        histories.append(history)
    return Generations(tuple(students), tuple(histories))


def _callbacks(given: Any, number: int, folder: Path | None) -> list[keras.callbacks.Callback]:
    backup = []
    if folder is not None:
        backup = [
            keras.callbacks.BackupAndRestore(_backup(folder, number), delete_checkpoint=False)
        ]
    return [*backup, *list_callbacks(given)]


def _recalled(
    student: keras.Model, number: int, folder: Path | None
) -> keras.callbacks.History | None:
    """The history of a generation that is finished, its weights put into the student."""
    if folder is None or not _weights(folder, number).exists():
        return None
    student.load_weights(_weights(folder, number))
    history = keras.callbacks.History()
    history.history = json.loads(_numbers(folder, number).read_text())
    return history


def _keep(
    student: keras.Model, history: keras.callbacks.History, number: int, folder: Path | None
) -> None:
    if folder is None:
        return
    values = {name: [float(v) for v in values] for name, values in history.history.items()}
    temporary = folder / "unfinished.json"
    temporary.write_text(json.dumps(values))
    os.replace(temporary, _numbers(folder, number))
    temporary = folder / "unfinished.weights.h5"
    student.save_weights(temporary)
    os.replace(temporary, _weights(folder, number))
    shutil.rmtree(_backup(folder, number))


def _weights(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}.weights.h5"


def _numbers(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}.json"


def _backup(folder: Path, number: int) -> Path:
    return folder / f"generation_{number}_backup"


def _require_new(student: keras.Model, students: list[keras.Model]) -> None:
    known = {id(weight) for other in students for weight in other.weights}
    if any(id(weight) in known for weight in student.weights):
        raise ValueError(
            "born_again: `build` must make a new model each time it is called. Received: a model "
            "that shares weights with an earlier one"
        )


def _check(build: Any, generations: int, loss: Any, callbacks: Any) -> None:
    if not callable(build) or isinstance(build, keras.layers.Layer):
        raise TypeError(
            "born_again: `build` must be a function of no arguments that returns a new built "
            f"model. Received: build={build!r}"
        )
    if generations != int(generations) or generations < 2:
        raise ValueError(
            "born_again: `generations` counts all the students, so it must be at least 2. "
            f"Received: generations={generations}"
        )
    if loss is None:
        raise ValueError(
            "born_again: the first generation learns from labels, so there must be a `loss`. "
            "Received: loss=None"
        )
    if any(isinstance(c, keras.callbacks.BackupAndRestore) for c in list_callbacks(callbacks)):
        raise ValueError(
            "born_again: BackupAndRestore would restore one generation's weights in another. Pass "
            '`path="folder"` instead.'
        )
