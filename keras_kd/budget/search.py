"""The trainings of a search: each slot is a student, trained, scored and, at the end, written."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna

from keras_kd.budget.files import CompressedFile, FileWriter, is_within, select
from keras_kd.budget.limits import Limits
from keras_kd.budget.problem import Problem, save_atomically
from keras_kd.budget.recipe import Recipe
from keras_kd.budget.schedule import Result, Slot
from keras_kd.budget.students import Students
from keras_kd.models.taps import TappedModel

TRIALS = "trials"
_FAILED = float("-inf")


@dataclass(frozen=True)
class Search:
    """Runs the slots of a search.

    Attributes:
        problem: The problem.
        limits: The limits.
        students: The students.
        writer: Writes their files.
        recipe: How they are trained.
        folder: The folder of the search.
        teacher_score: The teacher's score.
    """

    problem: Problem
    limits: Limits
    students: Students
    writer: FileWriter
    recipe: Recipe
    folder: Path
    teacher_score: float

    def run(self, slot: Slot, trial: Any) -> Result:
        """Train the student of a slot; write and measure its files if it is a final one."""
        start, config = time.monotonic(), slot.config
        if config.params:  # A later stage has the suggestions of the first one.
            trial = optuna.trial.FixedTrial(dict(config.params))
        student = self.students.build(config, trial, slot.seed)
        values = {"params": dict(trial.params)}
        reason = "no student is as small" if student is None else self._reject(slot, student)
        if reason:
            return Result(slot, _FAILED, False, {**values, "reason": reason})
        self.recipe.train(student, config, slot.part, slot.seed, self._checkpoints(slot))
        score = self.problem.score(student)
        save_atomically(student, student_path(self.folder, slot.name))
        values |= {"parameters": student.count_params(), "keras_score": score}
        if slot.final:
            found, failed = self.write(slot, student)
            score = select(found, self.limits, self.teacher_score).score if found else _FAILED
            values |= {"files": [f.as_dict(self.writer.folder) for f in found], "failed": failed}
            met = any(is_within(f, self.limits, self.teacher_score) for f in found)
        else:
            met = False
        values |= {"seconds": round(time.monotonic() - start, 1)}
        return Result(slot, score, met, values)

    def load_student(self, result: Result) -> keras.Model:
        """Return the trained student of a result."""
        return load_student(self.students, self.folder, result)

    def write(
        self, slot: Slot, student: keras.Model
    ) -> tuple[list[CompressedFile], dict[str, str]]:
        """Write the files of a student, also with quantization-aware training if int8 needs it."""
        found, failed = self.writer.write(student, slot.name)
        int8 = next((file for file in found if file.quantization == "int8"), None)
        lost = float("inf") if int8 is None else 100 * (int8.model_score - int8.score)
        if lost > self.limits.drop / 4:
            try:
                aware = self.recipe.quantize_aware(student, slot.config, slot.seed)
            except ValueError as error:  # A model without layers to quantize.
                failed["int8, quantization-aware"] = " ".join(str(error).split())
            else:
                more, other = self.writer.write(aware, slot.name, ["int8"], aware=True)
                found += more
                failed |= {f"{name}, quantization-aware": why for name, why in other.items()}
        return [self.writer.test(file) for file in found], failed

    def _reject(self, slot: Slot, student: keras.Model) -> str | None:
        """Return why a student is not trained, `None` if it is.

        Raises:
            ValueError: If its output has another shape than the teacher's.
        """
        own, other = (_output_shape(model) for model in (student, self.problem.teacher))
        if own[1:] != other[1:]:
            raise ValueError(
                f"A student must have an output of the teacher's shape {other}. Received: {own} of "
                f"'{student.name}', {slot.config.family}"
            )
        if not self.students.builds(slot.config.family):
            return None
        time_it = self.limits.max_latency_us is not None
        costs = self.writer.measure(student, time_it)
        if self.limits.excess(costs) <= 1:
            return None
        return f"its int8 file does not fit: {costs['size']:,} bytes, {costs['macs']:,} MACs"

    def _checkpoints(self, slot: Slot) -> Path | None:
        """Return where the checkpoints of a long training are written."""
        return self.folder / TRIALS / f"{slot.name}-checkpoints" if slot.final else None


def student_path(folder: Path, name: str) -> Path:
    """Return where the trained student of a slot is."""
    return folder / TRIALS / f"{name}.keras"


def load_student(students: Students, folder: Path, result: Result) -> keras.Model:
    """Return the trained student of a result."""
    slot = result.slot
    trial = optuna.trial.FixedTrial(dict(result.values["params"]))
    student = students.build(slot.config, trial, slot.seed)
    student.load_weights(student_path(folder, slot.name))
    return student


def files_of(results: Sequence[Result], folder: Path) -> list[CompressedFile]:
    """Return the files of final results."""
    dicts = [one for result in results for one in result.values.get("files", ())]
    return [CompressedFile.from_dict(one, folder) for one in dicts]


def seconds_per_part(results: Sequence[Result]) -> float | None:
    """Return the seconds of a full training, by those that were measured; `None` without any."""
    measured = [r for r in results if r.values.get("seconds")]
    parts = sum(result.slot.part for result in measured)
    return sum(result.values["seconds"] for result in measured) / parts if parts else None


def describe(values: Mapping[str, Any]) -> str:
    """Return the suggestions of a builder as text."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _output_shape(model: keras.Model) -> tuple[int | None, ...]:
    (shape,) = TappedModel(model, []).output_shapes.values()
    return shape
