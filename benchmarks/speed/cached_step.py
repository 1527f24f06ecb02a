"""Time of the cached step, the live step and PyTorch's on two cores without matrix instructions.

`step_cost` measures more variants, on a processor whose student step takes half the time. `memory`
is the cached step without the look-ups: joined batches in memory, with the teacher's part of the
loss.
"""

import tempfile
from pathlib import Path

import keras_kd as kd
from benchmarks.shared.timing import seconds_in_turns
from benchmarks.speed import step_cost
from benchmarks.speed.against_torch import compare_with_torch
from benchmarks.speed.steps import Steps, step_ratios, step_table

ALONE = True
VARIANTS = {
    "logits": ("live teacher, logits", "bound", 1.02),
    "cached": ("cached teacher, logits", "student", 1.05),
    "memory": ("cached teacher, joined batches in memory", "student", None),
}

plan = step_cost.plan


def run(cell, seed, quick):
    if "peer" in cell:
        return compare_with_torch(cell["images"], quick)
    steps = Steps(cell["images"], seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        cache = kd.KnowledgeCache.build(steps.teacher, steps.batches, path, verbose=0)
        joined = cache.join(steps.batches)
        runs = {
            **steps.parts(),
            "logits": steps.runner(steps.distiller()),
            "cached": steps.runner(steps.distiller(cache.teachers), joined),
            "memory": steps.runner(steps.distiller(cache.teachers), joined.cache()),
        }
        return step_ratios(seconds_in_turns(runs, *((1, 1) if quick else (25, 8))), VARIANTS)


def report(done):
    return step_table(done, VARIANTS)
