"""Accuracy of the models in docs/tutorial.md: its own snippets, run with other seeds."""

import contextlib
import io
import re
import tempfile

from benchmarks.paths import DOCS
from benchmarks.runner.results import mean_sd, table

PAGE = DOCS / "tutorial.md"
ROWS = ("teacher", "student alone", "student, distilled", "its int8 file")


def plan(done, seeds, quick):
    return [({"page": PAGE.stem}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace = {}
    quiet = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), quiet:
        for snippet in snippets:
            code = re.sub(r"^seed = \d+$", f"seed = {seed}", snippet, flags=re.MULTILINE)
            code = re.sub(r"epochs=\d+", "epochs=1", code) if quick else code
            exec(compile(code, str(PAGE), "exec"), namespace)
        size = namespace["file"].size
    return {
        **{name: namespace["rows"][name] for name in ROWS},
        "bytes": size,
        "teacher_parameters": namespace["teacher"].count_params(),
        "student_parameters": namespace["student"].count_params(),
    }


def report(done):
    if not done.runs:
        return ""
    metrics = done.runs[0]["metrics"]
    teacher, student = (f"{metrics[f'{name}_parameters']:,}" for name in ("teacher", "student"))
    about = (teacher, student, student, f"{metrics['bytes'] / 1000:.1f} kB")
    rows = [
        [name, what, mean_sd(done.values(name), 100), len(done.runs)]
        for name, what in zip(ROWS, about, strict=True)
    ]
    return table(["", "parameters", "test accuracy %", "seeds"], rows)
