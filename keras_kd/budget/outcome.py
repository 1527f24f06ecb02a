"""The end of a search: the choice, the copies under lasting names, and the messages."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import keras

from keras_kd.budget.compression import BudgetError, Compression
from keras_kd.budget.files import (
    CompressedFile,
    as_tflite_model,
    is_within,
    pareto_front,
    select,
)
from keras_kd.budget.page import write_page
from keras_kd.budget.problem import Problem, save_atomically
from keras_kd.budget.run import Found, Run
from keras_kd.budget.search import TRIALS, load_student
from keras_kd.files import atomic_write, write_json
from keras_kd.report import formatting

BEST, NEAREST = "best.tflite", "nearest.tflite"
STUDENT, RESULT, REPORT = "student.keras", "result.json", "report.html"


def finish(run: Run, found: Found) -> Compression:
    """Choose a file, write the results and return them.

    Raises:
        BudgetError: If no file is within the limits.
        RuntimeError: If there is no file at all.
    """
    if not found.files:
        raise RuntimeError(f"No student could be written as a file. {_reasons(found)}")
    teacher = found.plan.teacher["score"]
    chosen = select(found.files, run.limits, teacher)
    met = is_within(chosen, run.limits, teacher)
    student = _student(run, found, chosen)
    path = run.folder / (BEST if met else NEAREST)
    (run.folder / (NEAREST if met else BEST)).unlink(missing_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(chosen.path.read_bytes())
    save_atomically(student, run.folder / STUDENT)
    files = sorted(found.files, key=lambda file: (file.size, str(file.path)))
    compression = Compression(
        best=replace(as_tflite_model(chosen, run.problem), path=path),
        chosen=chosen,
        student=student,
        front=pareto_front(files),
        files=files,
        results=found.results,
        teacher=found.plan.teacher,
        limits=run.limits,
        met=met,
        score_name=run.problem.score_name,
        test=_describe_test(run.problem),
        notes=[*found.plan.notes, *_failures(found)],
        seconds=time.monotonic() - run.start,
        interrupted=found.interrupted,
        report=run.folder / REPORT,
    )
    write_json(run.folder / RESULT, compression.as_dict(run.writer.folder))
    write_page(compression, run.problem.class_names)
    run.progress.say(repr(compression))
    if not found.interrupted:
        _clean(run.folder, found)
    if not met:
        raise BudgetError(_explain(compression, found), compression)
    return compression


def _student(run: Run, found: Found, chosen: CompressedFile) -> keras.Model:
    by_name = {result.slot.name: result for result in found.results}
    if chosen.source not in by_name:
        return run.problem.teacher
    return load_student(run.students, run.folder, by_name[chosen.source])


def _describe_test(problem: Problem) -> str:
    samples = f"{len(problem.test):,} samples"
    if problem.held_out:
        return (
            f"{samples} of the validation data that the search did not use, because no test data "
            "were given"
        )
    return f"{samples} of test data that the search did not use"


def _failures(found: Found) -> list[str]:
    """Return why files are missing."""
    return [
        f"{result.slot.name} as {name}: {reason}"
        for result in found.results
        for name, reason in result.values.get("failed", {}).items()
    ]


def _reasons(found: Found) -> str:
    reasons = [r.values["reason"] for r in found.results if "reason" in r.values]
    return " ".join([*found.plan.notes, *dict.fromkeys(reasons), *_failures(found)])


def _explain(compression: Compression, found: Found) -> str:
    """Return what is missing, what is nearest, and what to do."""
    chosen, limits = compression.chosen, compression.limits
    name = compression.score_name
    score = f"{formatting.decimal(chosen.test_score)} ({name}, teacher "
    score += f"{formatting.decimal(compression.teacher['test_score'])})"
    costs = f"{chosen.size:,} bytes, {formatting.duration(chosen.latency_us)}"
    costs += "" if chosen.macs is None else f", {chosen.macs:,} MACs"
    path = compression.best.path
    if found.plan.least is not None:
        return (
            f"No student is within {limits}. The smallest one has {costs}, and {score} after a "
            f"short training. It is written as '{path}'. Raise the limit, or pass smaller "
            "`students`."
        )
    return (
        f"No file was found within {limits}. The nearest one has {costs}, and {score}. It is "
        f"written as '{path}'. Raise a limit, raise `trials`, or pass other `students`; "
        f"'{compression.report}' shows all files."
    )


def _clean(folder: Path, found: Found) -> None:
    """Delete what only a running search needs."""
    finals = {result.slot.name for result in found.results if result.slot.final}
    for path in (folder / TRIALS).iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".keras" and path.stem not in finals:
            path.unlink(missing_ok=True)
