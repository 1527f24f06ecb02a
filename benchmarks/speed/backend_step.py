"""Time of a distillation step on each Keras backend, beside `keras.distillation`.

All train with `fit`, in turns: the student alone, our distiller and that of Keras; the teacher's
forward pass is `predict_on_batch`. `KERAS_KD_JAX` and `KERAS_KD_TORCH` name Pythons that have JAX
and PyTorch; a backend without one is omitted.
"""

import json
import os
import shutil
import subprocess
import sys

from benchmarks.paths import ROOT
from benchmarks.runner.results import mean_sd, measured_on, table

ALONE = True
LIMIT = 1.05
TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
VARIABLES = {"jax": "KERAS_KD_JAX", "torch": "KERAS_KD_TORCH"}


def plan(done, seeds, quick):
    return [({"backend": name}, seed) for seed in range(seeds) for name in TITLES if python(name)]


def python(backend):
    """Return a Python that has the backend, or `None`."""
    if backend == "tensorflow":
        return sys.executable
    named = os.environ.get(VARIABLES[backend])
    return shutil.which(named) if named else None


def run(cell, seed, quick):
    command = [python(cell["backend"]), "-m", "benchmarks.speed.backend_process"]
    command += ["1", "1"] if quick else ["6", "16"]
    environment = {**os.environ, "KERAS_BACKEND": cell["backend"]}
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(finished.stdout.splitlines()[-1])


def report(done):
    rows = []
    for backend, title in TITLES.items():
        runs = [one["metrics"] for one in done.where(backend=backend)]
        names = ("ours", "keras", "student_ms", "teacher_ms", "teacher_copies")
        cells = [_mean(runs, name) for name in names]
        rows.append([title, *cells])
    header = ["backend", f"keras_kd (at most {LIMIT})", "`keras.distillation`"]
    header += ["student, ms", "teacher, ms", "copies of the teacher's weights"]
    text = table(header, rows)
    return f"{text}\n\n{measured_on(done)}" if done.runs else text


def _mean(runs, name):
    values = [run[name] for run in runs if name in run]
    return mean_sd(values) if values else ""
