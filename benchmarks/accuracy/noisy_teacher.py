"""Error with and without noise on the logits of an overconfident teacher.

Teacher and student are trained on the same images of MNIST and Fashion-MNIST, few or all, so the
teacher is nearly always correct on them and gives the other classes almost no probability. Standard
deviation and probability of the noise are chosen on 5,000 validation images; the JSON has every
cell of the grid. The best one then runs on the test split with other seeds.
"""

import math
import statistics
from functools import lru_cache

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

SETTINGS = [(data, n) for n in (1000, 5000, 50000) for data in ("mnist", "fashion_mnist")]
GRID = [(sigma, p) for sigma in (0.5, 1.0, 2.0) for p in (0.5, 1.0)]
TEMPERATURE = 4.0
#: Epochs of the student and of the teacher by number of images.
EPOCHS = {1000: (120, 30), 5000: (40, 30), 50000: (3, 6)}
#: Two-sided 95 % quantiles of Student's t by degrees of freedom.
T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def plan(done, seeds, quick):
    jobs = []
    for data, samples in SETTINGS[:1] if quick else SETTINGS:
        base = {"data": data, "samples": samples}
        grid = GRID[:1] if quick else GRID
        noisy = [{"method": "noisy", "sigma": s, "p": p} for s, p in grid]
        tuning = [
            ({"stage": "tune", **base, **method}, seed)
            for method in ({"method": "kd"}, *noisy)
            for seed in ((100, 101) if samples == 1000 and not quick else (100,))
        ]
        jobs += tuning
        if all(job in done for job in tuning):
            best = done.best("accuracy", ("sigma", "p"), stage="tune", method="noisy", **base)
            for seed in range(seeds):
                jobs += [({"stage": "test", **base, "method": m}, seed) for m in ("alone", "kd")]
                jobs.append(({"stage": "test", **base, "method": "noisy", **best}, seed))
    return jobs


def run(cell, seed, quick):
    data, samples = cell["data"], cell["samples"]
    x, y = load_arrays(data, f"train[:{samples}]")
    recorded = recorded_teacher(data, samples, quick)
    student = build_cnn("student", (16, 32), 128, seed=seed)
    model, inputs = student, x
    if cell["method"] != "alone":
        noise = None
        if cell["method"] == "noisy":
            noise = kd.noise.LogitNoise(cell["sigma"], cell["p"], seed=seed)
        model = kd.Distiller(
            recorded.student(student),
            recorded.teacher,
            kd.losses.SoftTargets(TEMPERATURE),
            student_loss_weight=0.0,
            noise=noise,
        )
        inputs = recorded.inputs(x)
    epochs = 1 if quick else EPOCHS[samples][0]
    compile_and_fit(
        model, inputs, y, loss=sparse_loss(), learning_rate=2e-3, epochs=epochs, seed=seed
    )
    held_out = "train[50000:55000]" if cell["stage"] == "tune" else "test"
    return {"accuracy": accuracy(student, *load_arrays(data, held_out))}


@lru_cache(maxsize=2)
def recorded_teacher(data, samples, quick):
    """Record the teacher's outputs, once per process."""
    x, _ = load_arrays(data, f"train[:{samples}]")
    return RecordedTeachers(load_teacher(data, samples, quick), x)


def load_teacher(data, samples, quick):
    """Return a teacher of 2.4 M parameters, trained on the student's images until it fits them."""

    def train():
        model = build_cnn("teacher", (32, 64), 760, seed=1000)
        x, y = load_arrays(data, f"train[:{samples}]")
        epochs = 1 if quick else EPOCHS[samples][1]
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs)
        return model

    return load_or_train(f"noisy_{data}_{samples}{'_quick' if quick else ''}", train)


def reduction(done, **where):
    """Return the mean error reduction of noisy over plain KD in % with its 95 % interval."""
    plain = [1 - a for a in done.values("accuracy", method="kd", **where)]
    noisy = [1 - a for a in done.values("accuracy", method="noisy", **where)]
    parts = [100 * (one - other) / one for one, other in zip(plain, noisy, strict=True)]
    if len(parts) < 2:
        return ""
    half = T_95[len(parts) - 1] * statistics.stdev(parts) / math.sqrt(len(parts))
    return f"{statistics.mean(parts):.1f}\u00a0±\u00a0{half:.1f}"


def report(done):
    rows = []
    for data, samples in SETTINGS:
        where = {"stage": "test", "data": data, "samples": samples}
        accuracies = [done.values("accuracy", method=m, **where) for m in ("alone", "kd", "noisy")]
        if not accuracies[-1] or len({len(values) for values in accuracies}) > 1:
            continue  # The run was stopped, so seeds are missing.
        errors = [mean_sd([1 - a for a in values], 100) for values in accuracies]
        cell = done.where(method="noisy", **where)[0]["cell"]
        chosen = f"σ {cell['sigma']:g}, p {cell['p']:g}"
        rows.append([_title(data, samples), *errors, chosen, reduction(done, **where)])
    header = [
        "test error %",
        "student alone",
        "KD, T = 4",
        "noisy KD",
        "chosen on validation",
        "error reduction relative to KD, % (95 % interval)",
    ]
    parts = [table(header, rows) if rows else "", _grid(done)]
    return "\n\n".join(filter(None, parts))


def _grid(done):
    """Return the table of the grid search on the validation images."""
    rows = []
    for data, samples in SETTINGS:
        where = {"stage": "tune", "data": data, "samples": samples}
        cells = [{"method": "kd"}, *({"method": "noisy", "sigma": s, "p": p} for s, p in GRID)]
        accuracies = [done.values("accuracy", **where, **cell) for cell in cells]
        if any(accuracies):
            means = [f"{100 - 100 * statistics.mean(v):.2f}" if v else "" for v in accuracies]
            rows.append([_title(data, samples), *means])
    if not rows:
        return ""
    noisy = [f"σ {sigma:g}, p {p:g}" for sigma, p in GRID]
    return table(["validation error %", "KD, no noise", *noisy], rows)


def _title(data, samples):
    return f"{data}, {samples:,} images"
