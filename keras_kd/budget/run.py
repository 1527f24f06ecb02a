"""One search: its folder, its study and its trainings."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keras_kd.budget.files import CompressedFile, FileWriter, select
from keras_kd.budget.limits import Limits
from keras_kd.budget.plan import Plan, Planner
from keras_kd.budget.problem import Problem
from keras_kd.budget.progress import Progress
from keras_kd.budget.recipe import Recipe
from keras_kd.budget.schedule import Once, Result, Schedule, Slot, rank
from keras_kd.budget.search import TRIALS, Search, files_of, seconds_per_part
from keras_kd.budget.students import Students
from keras_kd.budget.study import Study
from keras_kd.files import read_json, write_json
from keras_kd.recipes.fingerprints import Fingerprints, differing_names

FILES, _ABOUT = "files", "about.json"
_VERSION = 1
#: The part of the time limit after which no short training starts.
_SEARCH_TIME = 0.5
#: The least part of a full training, when the time is over.
_LEAST_PART = 1 / 12


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        plan: Its plan.
        results: Its trainings.
        files: All verified files.
        interrupted: Whether it was interrupted.
    """

    plan: Plan
    results: list[Result]
    files: list[CompressedFile]
    interrupted: bool


@dataclass(frozen=True)
class Run:
    """One call of `compress`.

    Attributes:
        problem: The problem.
        limits: The limits.
        students: The students.
        folder: The folder of the search.
        trials: Trainings of the first stage.
        seed: Seed of the search.
        deadline: When the time is over, by `time.monotonic`; `None` for never.
        progress: Prints what happens.
        start: When the call began.
    """

    problem: Problem
    limits: Limits
    students: Students
    folder: Path
    trials: int
    seed: int
    deadline: float | None
    progress: Progress
    start: float

    @property
    def writer(self) -> FileWriter:
        """Writes the files of the search."""
        return FileWriter(self.problem, self.folder / FILES)

    def describe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a search depends on, and check that the folder has no other one.

        Raises:
            ValueError: If it has.
        """
        problem = self.problem
        data = {name: getattr(problem, name).parts for name in ("train", "validation", "test")}
        known = {"teacher": problem.teacher, **data, **asdict(self.limits), **arguments}
        known |= {"trials": self.trials, "seed": self.seed}
        described = Fingerprints(problem.train.arrays).describe(known)
        about = {"version": _VERSION, "arguments": described}
        for name in (FILES, TRIALS):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / _ABOUT).exists():
            write_json(self.folder / _ABOUT, about)
        found = read_json(self.folder / _ABOUT)
        if differing := differing_names(found, about):
            raise ValueError(
                f"'{self.folder}' has a search with other arguments; it differs in {differing}. "
                "Pass another path, or delete the folder. (Data with random augmentation differ "
                "each time; a teacher with random weights differs in each process.)"
            )
        return about

    def search(self, about: dict[str, Any], storage: str | None) -> Found:
        """Make the plan and run its trainings.

        Raises:
            KeyboardInterrupt: If the search is interrupted before its first result.
        """
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        study = Study(self.folder, f"keras_kd-{digest}", storage)
        arguments = (self.problem, self.limits, self.students, self.writer)
        planner = Planner(*arguments, self.trials, self.seed)
        plan = Plan.from_dict(study.plan(lambda: planner.make().as_dict()))
        for note in plan.notes:
            self.progress.say(note)
        files = files_from_teacher(plan, self.writer.folder)
        if not plan.configs:
            return Found(plan, [], files, False)
        recipe = Recipe(self.problem, self.folder)
        search = Search(*arguments, recipe, self.folder, plan.teacher["score"])
        interrupted = False
        try:
            self._work(study, plan.schedule(self.seed), search)
        except KeyboardInterrupt:
            interrupted = True
            self.progress.say("Interrupted: the best file so far is kept.")
        results = study.finished()
        files += files_of(results, self.writer.folder)
        if interrupted and not any(result.slot.final for result in results):
            best = next((r for r in rank(results) if "reason" not in r.values), None)
            if best is None:
                raise KeyboardInterrupt
            files += search.write(best.slot, search.load_student(best))[0]
        return Found(plan, results, files, interrupted)

    def _work(self, study: Study, schedule: Schedule, search: Search) -> None:
        """Run the trainings of a schedule; if the time is over, the best one so far at once."""

        def run(slot: Slot, trial: Any) -> Result:
            result = search.run(slot, trial)
            finished = [*study.finished(), result]
            files = files_of(finished, self.writer.folder)
            best = select(files, self.limits, search.teacher_score) if files else None
            self.progress.report(result, finished, schedule, best)
            return result

        study.work(schedule, run, lambda slot: self._is_late(slot, study))
        finished = study.finished()
        if self.deadline is None or any(result.slot.final for result in finished):
            return
        left = max(0.0, self.deadline - time.monotonic())
        part = min(1.0, max(_LEAST_PART, 0.8 * left / (seconds_per_part(finished) or 1.0)))
        best = rank(finished)[0]
        config = replace(best.slot.config, params=best.values.get("params", {}))
        study.work(Once("late", config, part, self.seed), run)

    def _is_late(self, slot: Slot, study: Study) -> bool:
        if self.deadline is None:
            return False
        finished = study.finished()
        if slot.final:
            over = time.monotonic() > self.deadline
            return over and any(result.slot.final for result in finished)
        middle = self.start + _SEARCH_TIME * (self.deadline - self.start)
        return time.monotonic() > middle and bool(finished)


def files_from_teacher(plan: Plan, folder: Path) -> list[CompressedFile]:
    """Return the teacher's own files."""
    return [CompressedFile.from_dict(file, folder) for file in plan.teacher["files"]]
