"""Every form of self-distillation compared with plain training.

5,000 labeled images of Fashion-MNIST and the student of shared/fashion_mnist.py. Every form is
compared with plain training for the same number of steps and, because a step of it takes longer,
with plain training for the same time. Learning rate and number of epochs are the best ones of plain
training (`against_keras_distillation`); the weight of the distillation loss is chosen for each form
on 5,000 validation images, with two seeds. Born-again students are trained one after the other, for
all steps each, so the third takes about three times the time. Of two mutual students, the first is
the result; this was decided beforehand.
"""

import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.timing import seconds_by_block
from benchmarks.shared.training import (
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    sparse_loss,
)

SAMPLES, EPOCHS, BATCH = 5_000, 20, 128
RATE, WEIGHTS = 1e-2, (0.3, 1.0)
FORMS = {
    "snapshot": "late snapshot, from epoch 10",
    "snapshots": "snapshots from epoch 8, every 4",
    "average": "running average, 0.99",
    "born_again": "born again, third generation",
    "deep": "deep supervision, one exit",
    "mutual": "mutual, two students",
}


def plan(done, seeds, quick):
    forms = ("average",) if quick else FORMS
    weights, tried = (WEIGHTS[:1], (100,)) if quick else (WEIGHTS, (100, 101))
    jobs = [
        ({"stage": "cost", "form": form}, seed) for form in forms for seed in range(min(seeds, 3))
    ]
    times = set() if quick else {same_time(done, form) for form in forms} - {None, EPOCHS}
    for epochs in (EPOCHS, *sorted(times)):
        cell = {"stage": "test", "form": "plain", "epochs": epochs, "weight": 0.0}
        jobs += [(cell, seed) for seed in range(seeds)]
    for form in forms:
        where = {"stage": "tune", "form": form, "epochs": EPOCHS}
        tuning = [({**where, "weight": w}, seed) for w in weights for seed in tried]
        jobs += tuning
        if all(job in done for job in tuning):
            cell = {**where, "stage": "test", **done.best("accuracy", ("weight",), **where)}
            jobs += [(cell, seed) for seed in range(seeds)]
    return jobs


def same_time(done, form):
    """Return how many epochs of plain training take as long as the form."""
    ratios = done.values("ratio", stage="cost", form=form)
    return round(EPOCHS * float(np.median(ratios))) if ratios else None


def run(cell, seed, quick):
    if cell["stage"] == "cost":
        return {"ratio": time_ratio(cell["form"], seed, quick)}
    x, y = load_arrays("fashion_mnist", f"train[:{SAMPLES}]")
    held_out = load_arrays(
        "fashion_mnist", "train[50000:55000]" if cell["stage"] == "tune" else "test"
    )
    epochs = 3 if quick else cell["epochs"]
    form, extra = cell["form"], {}
    settings = {"loss": sparse_loss(), "learning_rate": RATE, "seed": seed}
    settings["steps_per_execution"] = 20  # A step of a small model is short.
    if form == "born_again":
        student = train_born_again(x, y, cell["weight"], epochs, settings)
    else:
        student = build_cnn("student", (8, 16), 32, seed=seed)
        model = build_model(form, student, cell["weight"], epochs, seed)
        compile_and_fit(model, x, y, epochs=epochs, **settings)
        if form == "average":
            extra["average"] = accuracy(model.earlier_self, *held_out)
    return {"accuracy": accuracy(student, *held_out), **extra}


def build_model(form, student, weight, epochs, seed):
    """Return the model that trains the student."""
    soft = kd.losses.SoftTargets(weight=weight)
    fifth = max(1, epochs // 5)
    if form == "snapshot":
        return kd.SelfDistiller(student, soft, start=epochs // 2)
    if form == "snapshots":
        return kd.SelfDistiller(student, soft, start=2 * fifth, every=fifth)
    if form == "average":
        return kd.SelfDistiller(student, soft, decay=0.99, start=fifth)
    if form == "deep":
        return kd.DeepSupervision(student, ["block1"], soft, exit_loss_weight=weight)
    if form == "mutual":
        other = build_cnn("other", (8, 16), 32, seed=1000 + seed)
        return kd.MutualLearning([student, other], soft)
    return student


def train_born_again(x, y, weight, epochs, settings):
    seed = settings["seed"]
    students = []
    for generation in range(3):
        student = build_cnn("student", (8, 16), 32, seed=seed + 1000 * generation)
        model = student
        if students:
            soft = kd.losses.SoftTargets(weight=weight)
            model = kd.Distiller(student, students[-1], soft, student_loss_weight=1.0)
        compile_and_fit(model, x, y, epochs=epochs, **settings)
        students.append(student)
    return students[-1]


def time_ratio(form, seed, quick):
    """Return the time of a whole training divided by that of plain training."""
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.random((BATCH, 28, 28, 1)), "float32")
    y = tf.constant(rng.integers(0, 10, BATCH))
    ratio = step_ratio("distiller" if form == "born_again" else form, x, y, seed, quick)
    # The part of the training that has a teacher.
    share = {"snapshot": 1 / 2, "snapshots": 3 / 5, "average": 4 / 5}.get(form, 1.0)
    if form == "born_again":
        return 1 + 2 * ratio
    return share * ratio + (1 - share)


def step_ratio(form, x, y, seed, quick):
    """Return the median ratio of a step to a plain step, timed in turns."""
    plain, student = (build_cnn(name, (8, 16), 32, seed=seed) for name in ("plain", "student"))
    model = build_model(form, student, 1.0, EPOCHS, seed)
    if form == "distiller":
        model = kd.Distiller(student, build_cnn("teacher", (8, 16), 32), kd.losses.SoftTargets())
    for one in (plain, model):
        one.compile("adam", sparse_loss())
    if isinstance(model, kd.SelfDistiller):
        model.begin_epoch(model.start)
    steps = [tf.function(lambda m=m: m.train_step((x, y))) for m in (model, plain)]
    times = seconds_by_block(steps, *((2, 2) if quick else (15, 10)))
    return float(np.median(times[:, 0] / times[:, 1]))


def report(done):
    plain = done.values("accuracy", stage="test", form="plain", epochs=EPOCHS)
    if not plain:
        return ""
    rows = [["plain training", mean_sd(plain, 100), "", "", ""]]
    for form, title in FORMS.items():
        accuracies = done.values("accuracy", stage="test", form=form)
        epochs = same_time(done, form)
        if not accuracies or epochs is None:
            continue
        other = done.values("accuracy", stage="test", form="plain", epochs=epochs)
        cell = done.where(stage="test", form=form)[0]["cell"]
        longer = f"{mean_sd(other, 100)}" if other else ""
        row = [title, mean_sd(accuracies, 100), f"× {epochs / EPOCHS:.2f}", longer]
        rows.append([*row, f"{cell['weight']:g}"])
        average = done.where(stage="test", form=form)[0]["metrics"].get("average")
        if average is not None:
            values = done.values("average", stage="test", form=form)
            rows.append(["… the average itself", mean_sd(values, 100), "", "", ""])
    header = [
        "Fashion-MNIST, 5,000 labels",
        "test accuracy %",
        "time",
        "plain training for that time",
        "weight (tuned)",
    ]
    return table(header, rows)
