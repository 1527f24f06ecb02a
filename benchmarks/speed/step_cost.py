"""Time of a distillation step compared with the parts that it needs.

The bound is the student's own step in `fit` plus the teacher's forward pass as a bare
`tf.function`; with a knowledge cache it is the student's own step. Every step is the one that `fit`
runs, on batches in memory. All variants take turns, a few steps each, in a new order each time; the
ratio is taken within each turn, and the result is the median of the turns.

`PyTorch`: the same step in plain PyTorch, see against_torch.py.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.runner.machine import has_bfloat16
from benchmarks.runner.results import save_chart
from benchmarks.shared.step_networks import SHAPES
from benchmarks.shared.timing import seconds_in_turns
from benchmarks.speed.against_torch import compare_with_torch, torch_python
from benchmarks.speed.steps import Steps, step_ratios, step_table

ALONE = True
#: By variant: title, base of the ratio, and the highest ratio that is acceptable.
VARIANTS = {
    "logits": ("live teacher, logits", "bound", 1.02),
    "attention": ("live teacher, logits and three attention maps", "bound", 1.05),
    "hints": ("live teacher, logits and three hints with trained projectors", "bound", None),
    "cached": ("cached teacher, logits", "student", 1.05),
    "cached_attention": ("cached teacher, logits and three attention maps", "student", None),
    "bfloat16": ("bfloat16 teacher, logits", "logits", 0.75),
    "int8": ("int8 .tflite teacher, logits", "logits", None),
    "execution": ("8 steps per execution", "logits", None),
    "xla": ("XLA (`jit_compile=True`)", "logits", None),
    "arrays": ("NumPy arrays, shuffled, instead of batches in memory", "logits", None),
    "shuffled": ("`tf.data`, shuffled, instead of batches in memory", "logits", None),
    "keras_logits": ("`keras.distillation`, logits", "bound", None),
    "keras_pair": ("`keras.distillation`, logits and one attention map", "bound", None),
}
PICTURE = "![Time of a step relative to the student alone](images/step_cost.svg)"


def plan(done, seeds, quick):
    shapes = list(SHAPES)[:1] if quick else SHAPES
    cells = [{"images": images} for images in shapes]
    if torch_python() is not None:
        cells += [{"images": images, "peer": "PyTorch"} for images in shapes]
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    if "peer" in cell:
        return compare_with_torch(cell["images"], quick)
    steps = Steps(cell["images"], seed)
    with tempfile.TemporaryDirectory() as folder:
        runs, variants = steps.variants(Path(folder)), VARIANTS
        if quick:
            variants = {name: VARIANTS[name] for name in ("logits", "cached", "int8")}
            runs = {name: runs[name] for name in ("student", "teacher", *variants)}
        times = seconds_in_turns(runs, *((1, 1) if quick else (25, 8)))
    return {**step_ratios(times, variants), "bfloat16_instructions": has_bfloat16()}


def report(done):
    text = step_table(done, VARIANTS)
    return f"{text}\n\n{PICTURE}" if done.runs else text


def chart(done, path):
    """Draw the time of the steps as bars, relative to the student's own step."""
    from matplotlib import pyplot

    titles = {
        "student": "student alone",
        "cached": "cached teacher",
        "int8": "int8 .tflite teacher",
        "logits": "live teacher",
        "keras_pair": "keras.distillation,\none feature pair",
    }
    colors = ["#999999", "#2a7f62", "#7fb59f", "#3b6ea5", "#c9742b"]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, images in zip(axes, SHAPES, strict=True):
        runs = [run["metrics"] for run in done.where(images=images) if "logits" in run["metrics"]]
        if not runs:
            pyplot.close(figure)
            return
        bound, values = _relative_times(runs)
        axis.barh([titles[name] for name in values], values.values(), color=colors)
        for i, value in enumerate(values.values()):
            axis.text(value + 0.05, i, f"{value:.2f}", va="center", fontsize=9)
        axis.axvline(bound, color="black", linewidth=0.8, linestyle=":")
        axis.set_title(f"{images}: time of a step, student alone = 1", fontsize=10)
        axis.set_xlim(0, 1.15 * max(values.values()))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    save_chart(figure, path)


def _relative_times(runs):
    """Return the bound and the times of the steps, all divided by the student's own time."""
    means = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
    bound = 1 + means["teacher_ms"] / means["student_ms"]
    live = means["logits"] * bound
    return bound, {
        "student": 1.0,
        "cached": means["cached"],
        "int8": means["int8"] * live,
        "logits": live,
        "keras_pair": means["keras_pair"] * bound,
    }
