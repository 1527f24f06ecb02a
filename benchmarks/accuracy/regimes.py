"""Accuracy of ways to distill, in regimes that differ in student, labels, epochs and teacher.

The regimes are those of shared/regimes.py. All methods of a regime train the same student from the
same weights for the same steps; "alone" is the same step with a weight of zero for the teacher. The
learning rate (Adam, cosine decay) is chosen for each method and regime on validation samples, with
one seed that is used for nothing else: 0.01 and 0.03, and further until no end of the grid is best.
Three other seeds are measured after the last epoch. Defaults are chosen by the validation
accuracy; test accuracies are shown.

"Measured" methods are `kd.losses.LabelsFirst`: labels alone for a fifth of the epochs, at least one
and at most two. The teacher joins then, if its cross-entropy on the training labels is less than
a third of the student's: before the student has learned the labels by heart, and before a bad
teacher has done harm.
"""

import dataclasses
import statistics
from functools import lru_cache

import keras
import numpy as np
from keras import ops

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.regimes import (
    HOLDOUT,
    REGIMES,
    accuracies,
    build_student,
    labeled,
    load_teacher,
)
from benchmarks.shared.training import RecordedTeachers, sparse_loss

#: The grid of learning rates, and those that are tried first.
RATES, FIRST = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0), (1e-2, 3e-2)
TUNING_SEED, BATCH = 1000, 128
ALL = {**REGIMES, **HOLDOUT}


@dataclasses.dataclass(frozen=True)
class Method:
    """A loss, its temperature, the weights of the teacher and the labels, and their schedule.

    `schedule` is `"weight"`, from the teacher to the labels, `"temperature"`, down to 1, or
    `"measured"`.
    """

    loss: str = "soft"
    temperature: float = 4.0
    weight: float = 0.5
    labels: float = 0.5
    schedule: str = ""


METHODS = {
    "alone": Method(weight=0.0, labels=1.0),
    "T = 4": Method(weight=1.0),
    "T = 1": Method(temperature=1.0),
    "T = 2": Method(temperature=2.0),
    "T = 4, labels 0.9": Method(weight=0.1, labels=0.9),
    "T = 2, annealed to labels": Method(temperature=2.0, schedule="weight"),
    "T from 4 to 1": Method(schedule="temperature"),
    "teacher right only": Method("right", weight=1.0),
    "DIST": Method("dist", temperature=1.0, weight=1.0),
    "standardized, T = 2": Method("standardized", temperature=2.0, weight=1.0),
    "WTTM": Method("wttm"),
    "measured, T = 1": Method(temperature=1.0, schedule="measured"),
    "measured, T = 2": Method(temperature=2.0, schedule="measured"),
    "measured, DIST": Method("dist", temperature=1.0, weight=1.0, schedule="measured"),
}
DEFAULTS = {"T = 4": "former default", "measured, T = 2": "default"}
TEACHERS = {
    "strong": "better: more labels",
    "weak": "weak: few labels",
    "own": "trained on the same labels",
}
#: What is measured first: the defaults before and after, then what was considered, then the rest.
ORDER = (
    ("alone", "T = 4", "measured, T = 2"),
    ("measured, T = 1", "measured, DIST", "T = 1", "T = 2", "DIST"),
    METHODS,
)


class TeacherRight(kd.losses.DistillationLoss):
    """A loss for the samples that the teacher classifies correctly."""

    needs_labels = True
    tasks = ("classes",)

    def __init__(self, loss):
        super().__init__(name=loss.name)
        self.loss = loss

    def call(self, teacher, student, labels=None):
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        right = ops.equal(ops.cast(ops.argmax(teacher, -1), "int32"), labels)
        return ops.cast(right, student.dtype) * self.loss(teacher, student, labels)


def build_loss(kind, measured):
    name = "match"
    soft, dist = kd.losses.SoftTargets(name=name), kd.losses.DIST(name=name)
    loss = {
        "soft": soft,
        "right": TeacherRight(soft),
        "dist": dist,
        "standardized": kd.losses.LogitStandardization(soft, name=name),
        "wttm": kd.losses.WTTM(name=name),
    }[kind]
    return kd.losses.LabelsFirst(loss, name=name) if measured else loss


class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine decay to zero from a rate that can be changed."""

    def __init__(self, steps):
        self.rate, self.steps = keras.Variable(0.0, trainable=False), steps

    def __call__(self, step):
        done = ops.cast(step, "float32") / self.steps
        return self.rate * 0.5 * (1 + ops.cos(np.pi * ops.minimum(done, 1.0)))

    def get_config(self):
        return {"steps": self.steps}


class Trainer:
    """A compiled distiller that trains with other weights, rates and seeds without a new trace."""

    def __init__(self, regime, kind, measured, quick):
        self.regime = regime
        self.x, self.y = labeled(regime)
        self.epochs = 2 if quick else regime.epochs
        self.student = build_student(regime, 0)
        recorded = RecordedTeachers(load_teacher(regime, quick), self.x)
        self.inputs = recorded.inputs(self.x)
        self.distiller = kd.Distiller(
            recorded.student(self.student), recorded.teacher, build_loss(kind, measured)
        )
        self.schedule = Cosine(self.epochs * -(-len(self.y) // BATCH))
        self.distiller.compile(keras.optimizers.Adam(self.schedule), loss=sparse_loss())

    def train(self, method, rate, seed):
        self.student.set_weights(build_student(self.regime, seed).get_weights())
        for variable in self.distiller.optimizer.variables:
            variable.assign(ops.zeros_like(variable))
        self.schedule.rate.assign(rate)
        for loss in self.distiller.distillation_losses:
            if isinstance(loss, kd.losses.LabelsFirst):
                loss.restart()
        self._set(method, 0)
        each_epoch = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._set(method, epoch)
        )
        keras.utils.set_random_seed(seed)
        settings = {"batch_size": BATCH, "epochs": self.epochs, "verbose": 0}
        self.distiller.fit(self.inputs, self.y, callbacks=[each_epoch], **settings)
        return accuracies(self.student, self.regime.data)

    def _set(self, method, epoch):
        """Set the weights and the temperature of an epoch."""
        weight, labels, temperature = method.weight, method.labels, method.temperature
        progress = epoch / max(self.epochs - 1, 1)
        if method.schedule == "weight":
            weight, labels = 1 - progress, progress
        elif method.schedule == "temperature":
            temperature = temperature ** (1 - progress)
        self.distiller.set_hyperparameter("student_loss_weight", labels)
        self.distiller.set_hyperparameter("match.weight", weight)
        if method.loss == "wttm":
            self.distiller.set_hyperparameter("match.gamma", 1 / temperature)
        else:
            self.distiller.set_hyperparameter("match.temperature", temperature)


@lru_cache(maxsize=1)
def load_trainer(regime, kind, measured, quick):
    keras.backend.clear_session()
    return Trainer(ALL[regime], kind, measured, quick)


def plan(done, seeds, quick):
    if quick:
        return list_jobs(done, ["6"], ["alone", "measured, DIST"], seeds, quick)
    for methods in ORDER:
        jobs = list_jobs(done, ALL, methods, seeds)
        if any(job not in done for job in jobs):
            return jobs
    return []


def list_jobs(done, regimes, methods, seeds, quick=False):
    """Return the jobs of some methods that can run now."""
    jobs = []
    for regime in regimes:
        for method in sorted(
            methods, key=lambda name: (METHODS[name].loss, METHODS[name].schedule)
        ):
            cell = {"regime": regime, "method": method}
            rate, tuning = next_rates(done, cell) if not quick else (FIRST[0], [])
            jobs += [({"stage": "tune", **cell, "rate": r}, TUNING_SEED) for r in tuning]
            if rate:
                final = {"stage": "final", **cell, "rate": rate}
                jobs += [(final, seed) for seed in range(min(seeds, 3))]
    return jobs


def next_rates(done, cell):
    """Return the chosen rate, or the rates to try first."""
    tried = {
        run["cell"]["rate"]: run["metrics"]["validation"]
        for run in done.where(stage="tune", **cell)
    }
    missing = [rate for rate in FIRST if rate not in tried]
    if missing:
        return None, missing
    best = RATES.index(max(tried, key=tried.get))
    missing = [rate for rate in RATES[max(best - 1, 0) : best + 2] if rate not in tried]
    return (None, missing) if missing else (RATES[best], [])


def run(cell, seed, quick):
    method = METHODS[cell["method"]]
    trainer = load_trainer(cell["regime"], method.loss, method.schedule == "measured", quick)
    return trainer.train(method, cell["rate"], seed)


def gains(done, method, regimes):
    """Return the mean gain over the student alone in points, by regime that has both."""
    means = {}
    for regime in regimes:
        found = [
            done.values("test", stage="final", regime=regime, method=name)
            for name in ("alone", method)
        ]
        if all(found):
            means[regime] = 100 * (statistics.mean(found[1]) - statistics.mean(found[0]))
    return means


def report(done):
    """Return the gains of the defaults by regime, and the worst and the mean gain of each method.

    The second table has the methods that were measured in every regime.
    """
    rows = [_row(done, regime) for regime in ALL]
    header = ["student and training", "teacher", "student alone, %", *DEFAULTS.values()]
    tables = [table(header, [row for row in rows if row])]
    rows = []
    for method in METHODS:
        found = [gains(done, method, regimes) for regimes in (REGIMES, HOLDOUT)]
        if method != "alone" and [len(one) for one in found] == [len(REGIMES), len(HOLDOUT)]:
            ends = [f(one.values()) for one in found for f in (min, statistics.mean)]
            rows.append([DEFAULTS.get(method, method), *(f"{end:+.2f}" for end in ends)])
    header = ["points over the student alone", "worst", "mean", "worst, holdout", "mean, holdout"]
    return "\n\n".join([*tables, *([table(header, rows)] if rows else [])])


def _row(done, regime):
    """Return the row of a regime, `None` without results."""
    alone = done.values("test", stage="final", regime=regime, method="alone")
    found = [gains(done, method, [regime]).get(regime) for method in DEFAULTS]
    if not alone or None in found:
        return None
    holdout = " (holdout)" if regime in HOLDOUT else ""
    cells = [ALL[regime].title + holdout, TEACHERS[ALL[regime].teacher], mean_sd(alone, 100, 1)]
    return [*cells, *(f"{gain:+.1f}" for gain in found)]
