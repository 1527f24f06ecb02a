"""The cached step, the live one and PyTorch's on two cores without instructions for matrices.

benchmarks/step_cost measures more variants and was run on a processor whose student's step takes
half the time. `lessons in memory` is what is left of a cached step without its look-ups: the
teacher's part of the loss.
"""

import tempfile
from pathlib import Path

import keras_kd as kd
from benchmarks.speed import step_cost
from benchmarks.speed.step_cost import Steps, against_torch, in_turns, ratios, table_of

# Timings need the machine to themselves.
ALONE = True
VARIANTS = {
    "logits": ("live teacher, logits", "bound", 1.02),
    "cached": ("cached teacher, logits", "student", 1.05),
    "memory": ("cached teacher, lessons in memory", "student", None),
}

plan = step_cost.plan


def run(cell, seed, quick):
    if "peer" in cell:
        return against_torch(cell["images"], 3 if quick else 25, 2 if quick else 4)
    steps = Steps(cell["images"], seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        cache = kd.KnowledgeCache.build(steps.teacher, steps.batches, path, verbose=0)
        joined = cache.join(steps.batches)
        runs = {
            **steps.parts(),
            "logits": steps.of(steps.distiller()),
            "cached": steps.of(steps.distiller(cache.teachers), joined),
            "memory": steps.of(steps.distiller(cache.teachers), joined.cache()),
        }
        return ratios(in_turns(runs, *((1, 1) if quick else (25, 8))), VARIANTS)


def report(done):
    return table_of(done, VARIANTS)
