"""What a distillation step costs beside what it cannot do without.

The bound is the student's own step in `fit` plus the teacher's forward pass as a bare
`tf.function`; for knowledge on disk it is the student's own step. Networks: benchmarks/steps. Every
step is the one that `fit` runs, on batches that lie in memory. All variants take turns, in a new
order each time, a few steps each; the ratio is taken within each turn, and the median of the turns
is the result.

`PyTorch`: the same step in plain PyTorch, channels_last, both on one thread in processes of their
own that take turns. `KERAS_KD_TORCH` names a Python that has PyTorch; without one that part is
left out.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import distillation

import keras_kd as kd
from benchmarks.runner.machine import has_bfloat16
from benchmarks.runner.results import mean_sd, on, save_chart, table
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.training import convolutional, sparse_loss

# Timings need the machine to themselves.
ALONE = True
# By variant: its name, what it is measured against, and what it may be at most.
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
PICTURE = "![The time of a step, that of the student alone being 1](images/step_cost.svg)"
PEER = Path(__file__).with_name("torch_step.py")


def plan(done, seeds, quick):
    shapes = list(SHAPES)[:1] if quick else SHAPES
    cells = [{"images": images} for images in shapes]
    if torch_python() is not None:
        cells += [{"images": images, "peer": "PyTorch"} for images in shapes]
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    if "peer" in cell:
        return against_torch(cell["images"], 3 if quick else 25, 2 if quick else 4)
    steps = Steps(cell["images"], seed)
    with tempfile.TemporaryDirectory() as folder:
        runs = steps.variants(Path(folder))
        shown = VARIANTS
        if quick:
            shown = {name: VARIANTS[name] for name in ("logits", "cached", "int8")}
            runs = {name: runs[name] for name in ("student", "teacher", *shown)}
        times = in_turns(runs, *((1, 1) if quick else (25, 8)))
    return {**ratios(times, shown), "bfloat16_instructions": has_bfloat16()}


def in_turns(runs, turns, count):
    """Seconds of a step in each turn of so many; in each turn every variant, in another order."""
    times = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name in random.Random(turn).sample(sorted(runs), len(runs)):
            start = time.perf_counter()
            runs[name](count)
            if turn:  # The first one compiles.
                times[name].append((time.perf_counter() - start) / count)
    return times


def ratios(times, variants):
    """The median of each variant's ratio, and the milliseconds of what it is measured against."""
    times = {name: np.array(values) for name, values in times.items()}
    times["bound"] = times["student"] + times["teacher"]
    found = {
        name: float(np.median(times[name] / times[against]))
        for name, (_, against, _) in variants.items()
    }
    return {
        **found,
        "student_ms": 1e3 * float(np.median(times["student"])),
        "teacher_ms": 1e3 * float(np.median(times["teacher"])),
        "cached_over_live": float(np.median(times["cached"] / times["logits"])),
    }


class Steps:
    """The steps of one size of images."""

    def __init__(self, images, seed):
        self.images, self.shape = images, SHAPES[images]
        rng = np.random.default_rng(seed)
        self.x = rng.random((8 * BATCH, *self.shape), "float32")
        self.y = rng.integers(0, 10, 8 * BATCH)
        self.batches = self.slices().batch(BATCH).cache()
        self.teacher = convolutional("teacher", *TEACHERS[images], shape=self.shape, seed=seed)

    def slices(self):
        return tf.data.Dataset.from_tensor_slices((self.x, self.y))

    def student(self):
        return convolutional("student", *STUDENTS[self.images], shape=self.shape)

    def variants(self, folder):
        """By name, a function that runs some steps."""
        taps = [None, *(f"block{i}" for i in (1, 2, 3))]
        cache = kd.KnowledgeCache.build(
            self.teacher, self.batches, folder / "cache", taps, verbose=0
        )
        joined = cache.join(self.batches)
        return {
            **self.parts(),
            "logits": self.of(self.distiller()),
            "attention": self.of(self.distiller(losses=attention())),
            "hints": self.of(self.distiller(losses=hints())),
            "cached": self.of(self.distiller(cache.teachers), joined),
            "cached_attention": self.of(self.distiller(cache.teachers, attention()), joined),
            "bfloat16": self.of(self.distiller(kd.Teacher(self.teacher, dtype="bfloat16"))),
            "int8": self.of(self.distiller(self.int8(folder))),
            "execution": self.of(self.distiller(steps_per_execution=8), per_call=8),
            "xla": self.of(self.distiller(jit_compile=True)),
            "arrays": self.of(self.distiller(), arrays(self.x, self.y)),
            "shuffled": self.of(
                self.distiller(), self.slices().shuffle(len(self.x)).batch(BATCH).prefetch(2)
            ),
            "keras_logits": self.of(self.peer([distillation.LogitsDistillation()])),
            "keras_pair": self.of(self.peer([distillation.LogitsDistillation(), one_pair()])),
        }

    def parts(self):
        """What no distillation can do without: the student's step, the teacher's forward pass."""
        forward = tf.function(lambda x: self.teacher(x, training=False))
        x = tf.constant(self.x[:BATCH])
        return {
            "student": self.of(self.compiled(self.student())),
            "teacher": lambda count: [forward(x) for _ in range(count)],
        }

    def of(self, model, data=None, per_call=1):
        """Runs steps of a compiled model as `fit` does: its compiled function on an iterator."""
        model.make_train_function()
        iterator = iter((self.batches if data is None else data).repeat())
        function = model.train_function
        return lambda count: [function(iterator) for _ in range(count // per_call or 1)]

    def distiller(self, teachers=None, losses=None, **kwargs):
        teachers = self.teacher if teachers is None else teachers
        return self.compiled(kd.Distiller(self.student(), teachers, losses), **kwargs)

    def peer(self, losses):
        """`keras.distillation` with the same parts."""
        model = distillation.Distiller(
            teacher=self.teacher,
            student=self.student(),
            distillation_losses=losses,
            distillation_loss_weights=[1.0] * len(losses),
        )
        return self.compiled(model)

    def compiled(self, model, **kwargs):
        model.compile("adam", sparse_loss(), metrics=["accuracy"], **kwargs)
        return model

    def int8(self, folder):
        path = folder / "teacher.tflite"
        kd.export.to_tflite(
            self.teacher, path, "int8", self.x[:300], batch_size=BATCH, max_drop=100.0
        )
        return kd.Teacher.from_tflite(path)


def attention():
    maps = [kd.losses.AttentionTransfer(f"block{i}", f"block{i}") for i in (1, 2, 3)]
    return [kd.losses.SoftTargets(), *maps]


def hints():
    pairs = [(f"block{i}", f"block{i}") for i in (1, 2, 3)]
    return [kd.losses.SoftTargets(), kd.losses.Hint(taps=pairs)]


def one_pair():
    """An attention map as a feature loss of `keras.distillation`."""

    def attention(teacher, student):
        maps = [keras.ops.mean(keras.ops.square(x), axis=-1) for x in (teacher, student)]
        return keras.ops.mean(keras.ops.square(maps[0] - maps[1]), axis=(1, 2))

    return distillation.FeatureDistillation(
        loss=attention, teacher_layer_name="block2", student_layer_name="block2"
    )


def arrays(x, y):
    """What Keras makes of arrays that `fit` is given."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    return ArrayDataAdapter(x, y, batch_size=BATCH, shuffle=True).get_tf_dataset()


def against_torch(images, turns, count):
    """Steps per second of ours over those of PyTorch, both on one thread."""
    root = Path(__file__).parents[2]
    ours = [sys.executable, "-m", "benchmarks.speed.keras_step", images]
    theirs = [torch_python(), str(PEER), images]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen(one, env=environment, **pipes) for one in (ours, theirs)]
    try:
        versions = [worker.stdout.readline().split()[-1] for worker in workers]
        times = [[seconds(worker, count) for worker in workers] for _ in range(turns + 1)][1:]
    finally:
        for worker in workers:
            worker.stdin.close()
            worker.wait()
    return {
        "speed": statistics.median(theirs / ours for ours, theirs in times),
        "ours_ms": 1e3 * statistics.median(ours for ours, _ in times) / count,
        "theirs_ms": 1e3 * statistics.median(theirs for _, theirs in times) / count,
        "torch": versions[1],
    }


def seconds(worker, count):
    print(count, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def torch_python():
    """A Python that has PyTorch, or `None`."""
    named = os.environ.get("KERAS_KD_TORCH")
    return shutil.which(named) if named else None


def report(done):
    measured = table_of(done, VARIANTS)
    return f"{measured}\n\n{PICTURE}" if done.runs else measured


def table_of(done, variants):
    against = {"bound": "student + teacher", "student": "student alone", "logits": "float32 step"}
    rows = []
    for name, (title, base, limit) in variants.items():
        cells = [mean_or_blank(done, name, images) for images in SHAPES]
        rows.append([title, against[base], *cells, "" if limit is None else f"≤ {limit:.2f}"])
    cells = [mean_or_blank(done, "speed", images, peer="PyTorch") for images in SHAPES]
    rows.append(["steps/s over plain PyTorch, channels_last", "one thread", *cells, "≥ 1.40"])
    measured = table(["step", "time over", *SHAPES, "wanted"], rows)
    return f"{measured}\n\n{on(done)}" if done.runs else measured


def mean_or_blank(done, metric, images, **values):
    runs = [r for r in done.where(images=images, **values) if metric in r["metrics"]]
    return mean_sd([run["metrics"][metric] for run in runs]) if runs else ""


def chart(done, path):
    """The steps as bars, in units of the student's own step."""
    from matplotlib import pyplot

    shown = {
        "student": "student alone",
        "cached": "cached teacher",
        "int8": "int8 .tflite teacher",
        "logits": "live teacher",
        "keras_pair": "keras.distillation,\none feature pair",
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, images in zip(axes, SHAPES, strict=True):
        runs = [run["metrics"] for run in done.where(images=images) if "logits" in run["metrics"]]
        if not runs:
            pyplot.close(figure)
            return
        metrics = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        bound = 1 + metrics["teacher_ms"] / metrics["student_ms"]
        live = metrics["logits"] * bound
        values = {
            "student": 1.0,
            "cached": metrics["cached"],
            "int8": metrics["int8"] * live,
            "logits": live,
            "keras_pair": metrics["keras_pair"] * bound,
        }
        colours = ["#999999", "#2a7f62", "#7fb59f", "#3b6ea5", "#c9742b"]
        axis.barh([shown[name] for name in values], values.values(), color=colours)
        for i, value in enumerate(values.values()):
            axis.text(value + 0.05, i, f"{value:.2f}", va="center", fontsize=9)
        axis.axvline(bound, color="black", linewidth=0.8, linestyle=":")
        axis.set_title(f"{images}: time of a step, student alone = 1", fontsize=10)
        axis.set_xlim(0, 1.15 * max(values.values()))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    save_chart(figure, path)
