"""Every function that reads outputs or labels, on every task: the right number or a refusal.

The right numbers are computed in NumPy from the logits (the outputs, for numbers) of linear models.
A refusal is an error of this package that names the task or how to declare it.
"""

import json
import re
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.metrics import r2_score, roc_auc_score

import keras_kd as kd
from keras_kd.cli import main

X = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
UNITS = {"classes": 4, "binary": 1, "labels": 4, "values": 3}
ACTIVATIONS = {"classes": "softmax", "binary": "sigmoid", "labels": "sigmoid", "values": "tanh"}
#: Words of a refusal: what the output is, what it must be, or how to say it.
REFUSAL = re.compile(r"classes|yes-or-no|independent labels|regression|sigmoid|binary|outputs=")


@dataclass(frozen=True)
class Problem:
    """Models and labels of a task.

    Attributes:
        task: One of `kd.models.task.TASKS`.
        head: Whether the models end in the activation of the task, `"activated"`, or are
            `"linear"`, so that only the compiled loss and the labels tell the task.
    """

    task: str
    head: str

    def model(self, name, seed=0, compiled=False):
        """Return a linear model with weights other than those of any other seed."""
        rng, units = np.random.default_rng(seed), UNITS[self.task]
        activation = ACTIVATIONS[self.task] if self.head == "activated" else None
        stack = [keras.Input((5,)), layers.Dense(units, activation, name="head")]
        model = keras.Sequential(stack, name=name)
        model.set_weights([rng.normal(size=(5, units)), rng.normal(size=units)])
        if compiled:
            model.compile(loss=self.loss)
        return model

    def scores(self, model, x=X):
        """Return the logits of a model, or its outputs if they are numbers."""
        kernel, bias = (weight.astype("float64") for weight in model.get_weights())
        scores = x.astype("float64") @ kernel + bias
        return np.tanh(scores) if self.task == "values" and self.head == "activated" else scores

    @cached_property
    def labels(self):
        rng, shape = np.random.default_rng(9), (len(X), UNITS[self.task])
        return {
            "classes": rng.integers(0, 4, len(X)),
            "binary": rng.integers(0, 2, len(X)),
            "labels": rng.integers(0, 2, shape).astype("float32"),
            "values": rng.normal(size=shape).astype("float32"),
        }[self.task]

    @property
    def loss(self):
        logits = self.head == "linear"
        return {
            "classes": keras.losses.SparseCategoricalCrossentropy(logits),
            "binary": keras.losses.BinaryCrossentropy(logits),
            "labels": keras.losses.BinaryCrossentropy(logits),
            "values": keras.losses.MeanSquaredError(),
        }[self.task]

    # The right numbers.

    def divergence(self, teacher, student, temperature=2.0):
        """Return the distillation loss of each sample."""
        if self.task == "values":
            return ((teacher - student) ** 2).mean(-1)
        teacher, student = teacher / temperature, student / temperature
        if self.task == "classes":
            p, q = log_softmax(teacher), log_softmax(student)
            return temperature**2 * (np.exp(p) * (p - q)).sum(-1)
        p, q = sigmoid(teacher), sigmoid(student)
        values = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return temperature**2 * values.mean(-1)

    def label_loss(self, scores):
        """Return the loss on the labels of each sample."""
        if self.task == "values":
            return ((scores - self.labels) ** 2).mean(-1)
        if self.task == "classes":
            return -log_softmax(scores)[np.arange(len(X)), self.labels]
        rows = self.labels.reshape(len(X), -1)
        return (np.logaddexp(0, scores) - rows * scores).mean(-1)

    def known_label_loss(self, scores, known):
        """Return the mean of the loss over the labels that are known."""
        if self.task in ("classes", "binary"):
            return self.label_loss(scores)[known].mean()
        if self.task == "values":
            return ((scores - self.labels) ** 2)[known].mean()
        return (np.logaddexp(0, scores) - self.labels * scores)[known].mean()

    def decisions(self, scores):
        """Return the predicted classes, or the answers yes and no."""
        if self.task == "classes":
            return scores.argmax(-1)
        return (scores[:, 0] if self.task == "binary" else scores) > 0

    def quality(self, scores):
        """Return the scores of a model on the labels, by name."""
        if self.task == "values":
            errors = scores - self.labels
            return {
                "mae": np.abs(errors).mean(),
                "rmse": np.sqrt((errors**2).mean()),
                "r2": r2_score(self.labels, scores),
            }
        right = self.decisions(scores) == self.labels
        found = {"accuracy": right.mean()}
        if self.task == "binary":
            found["auc"] = roc_auc_score(self.labels, scores[:, 0])
        if self.task == "labels":
            found["exact_match"] = right.all(-1).mean()
        return found


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def logs(distiller, problem, x=X, y=None, loss=True, **fit):
    """Return what one epoch of one batch logs, with weights that do not move."""
    distiller.compile(keras.optimizers.SGD(0.0), problem.loss if loss else None, run_eagerly=True)
    y = problem.labels if y is None and not isinstance(x, tf.data.Dataset) else y
    arguments = {} if isinstance(x, tf.data.Dataset) else {"batch_size": len(X)}
    history = distiller.fit(x, y, verbose=0, shuffle=False, **arguments, **fit).history
    return {name: values[0] for name, values in history.items()}


CELLS = {}


def reads(*refused):
    """Register a function that returns a found and the right number, or is refused for tasks."""

    def register(run):
        CELLS[run.__name__] = (run, refused)
        return run

    return register


def distilled(problem, losses=None, teachers=(1,), **arguments):
    """Return the distillation loss of a distiller, and the scores of student and teachers."""
    student = problem.model("student", 0)
    several = [problem.model(f"teacher_{seed}", seed) for seed in teachers]
    distiller = kd.Distiller(student, several, losses, **arguments)
    logged = logs(distiller, problem)
    (name,) = distiller.objective.names
    return logged[name], problem.scores(student), [problem.scores(one) for one in several]


# Losses.


@reads()
def default_loss(problem, folder):
    found, student, (teacher,) = distilled(problem)
    return found, problem.divergence(teacher, student).mean()


@reads("values")
def soft_targets(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.SoftTargets(2.0))
    return found, problem.divergence(teacher, student, 2.0).mean()


@reads()
def outputs_mse(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.OutputsMSE())
    return found, ((teacher - student) ** 2).mean()


@reads("binary", "labels", "values")
def dist(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.DIST())
    p, q = np.exp(log_softmax(teacher)), np.exp(log_softmax(student))
    rows = [1 - np.corrcoef(one, other)[0, 1] for one, other in zip(p, q, strict=True)]
    columns = [1 - np.corrcoef(one, other)[0, 1] for one, other in zip(p.T, q.T, strict=True)]
    return found, np.mean(rows) + np.mean(columns)


def without_target(scores, labels):
    keep = np.arange(scores.shape[1]) != labels[:, None]
    return scores[keep].reshape(len(scores), -1)


@reads("binary", "labels", "values")
def decoupled_kd(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.DecoupledKD(beta=2.0))
    rows = np.arange(len(X)), problem.labels
    p, q = (np.exp(log_softmax(z / 4))[rows] for z in (teacher, student))
    target = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    p, q = (log_softmax(without_target(z / 4, problem.labels)) for z in (teacher, student))
    return found, 16 * (target + 2 * (np.exp(p) * (p - q)).sum(-1)).mean()


@reads("binary", "labels", "values")
def normalized_kd(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.NormalizedKD())
    rows = np.arange(len(X)), problem.labels
    own = -np.exp(log_softmax(teacher))[rows] * log_softmax(student)[rows]
    p, q = (log_softmax(without_target(z, problem.labels)) for z in (teacher, student))
    return found, (own - 1.5 * (np.exp(p) * q).sum(-1)).mean()


@reads("binary", "labels", "values")
def logit_standardization(problem, folder):
    found, student, (teacher,) = distilled(problem, kd.losses.LogitStandardization())
    teacher, student = (
        (z - z.mean(-1, keepdims=True)) / z.std(-1, ddof=1, keepdims=True)
        for z in (teacher, student)
    )
    return found, problem.divergence(teacher, student, 4.0).mean()


# Labels and weights.


@reads("labels", "values")
def class_weight(problem, folder):
    weights = {0: 1.0, 1: 3.0} | ({2: 0.5, 3: 2.0} if problem.task == "classes" else {})
    student = problem.model("student", 0)
    distiller = kd.Distiller(student, problem.model("teacher", 1))
    logged = logs(distiller, problem, class_weight=weights)
    each = np.array([weights[label] for label in problem.labels])
    return logged["student_loss"], (each * problem.label_loss(problem.scores(student))).mean()


@reads()
def sample_weight(problem, folder):
    student, teacher = problem.model("student", 0), problem.model("teacher", 1)
    distiller = kd.Distiller(student, teacher)
    each = np.linspace(0, 2, len(X))
    logged = logs(distiller, problem, sample_weight=each)
    (name,) = distiller.objective.names
    student, teacher = problem.scores(student), problem.scores(teacher)
    found = [logged["student_loss"], logged[name]]
    right = problem.label_loss(student), problem.divergence(teacher, student)
    return found, [(each * values).mean() for values in right]


@reads()
def missing_labels(problem, folder):
    """The loss of those that are known; distillation needs none."""
    student, teacher = problem.model("student", 0), problem.model("teacher", 1)
    missing = -1 if problem.task == "classes" else np.nan
    labels = np.array(problem.labels, "int32" if problem.task == "classes" else "float32")
    known = np.random.default_rng(3).random(labels.shape) > 0.3
    distiller = kd.Distiller(student, teacher)
    logged = logs(distiller, problem, y=np.where(known, labels, missing))
    (name,) = distiller.objective.names
    student, teacher = problem.scores(student), problem.scores(teacher)
    found = [logged["student_loss"], logged[name]]
    right = problem.known_label_loss(student, known), problem.divergence(teacher, student).mean()
    return found, right


# Several teachers.


def weighted(problem, weighting, weights):
    """Return the loss of three weighted teachers, and the right one."""
    found, student, teachers = distilled(problem, None, (1, 2, 3), weighting=weighting)
    losses = np.stack([problem.divergence(teacher, student) for teacher in teachers])
    return found, (weights(teachers) * losses).sum(0).mean()


@reads()
def weighting_fixed(problem, folder):
    right = np.array([[0.5], [0.25], [0.25]])
    return weighted(problem, kd.weighting.Fixed([2, 1, 1]), lambda teachers: right)


@reads("labels", "values")
def weighting_cross_entropy(problem, folder):
    def weights(teachers):
        losses = np.stack([problem.label_loss(teacher) for teacher in teachers])
        return (1 - np.exp(log_softmax(losses.T).T)) / 2

    return weighted(problem, kd.weighting.CrossEntropy(), weights)


@reads("labels", "values")
def weighting_entropy(problem, folder):
    def weights(teachers):
        logits = np.stack(teachers)
        if problem.task == "binary":  # Two classes, no and yes.
            logits = np.concatenate([np.zeros_like(logits), logits], -1)
        log_p = log_softmax(logits)
        entropies = -(np.exp(log_p) * log_p).sum(-1)
        return (1 - entropies / entropies.sum(0)) / 2

    return weighted(problem, kd.weighting.Entropy(), weights)


@reads("labels", "values")
def weighting_screening(problem, folder):
    def weights(teachers):
        losses = np.stack([problem.label_loss(teacher) for teacher in teachers])
        return losses == losses.min(0)

    return weighted(problem, kd.weighting.Screening(keep=1), weights)


@reads("values")
def combine_probabilities(problem, folder):
    found, student, teachers = distilled(problem, None, (1, 2), combine="probabilities")
    if problem.task == "classes":
        target = np.log(np.mean([np.exp(log_softmax(teacher)) for teacher in teachers], 0))
    else:
        mean = np.mean([sigmoid(teacher) for teacher in teachers], 0)
        target = np.log(mean / (1 - mean))
    return found, problem.divergence(target, student).mean()


@reads()
def combine_logits(problem, folder):
    found, student, teachers = distilled(problem, None, (1, 2), combine="logits")
    return found, problem.divergence(np.mean(teachers, 0), student).mean()


@reads()
def screen_teachers(problem, folder):
    teachers = [problem.model(f"teacher_{seed}", seed, compiled=True) for seed in (1, 2, 3)]
    data = tf.data.Dataset.from_tensor_slices((X, problem.labels)).batch(10)
    report = kd.screen_teachers(teachers, data, keep=1, print_fn=None)
    losses = [problem.label_loss(problem.scores(teacher)).mean() for teacher in teachers]
    assert [row.teacher.model for row in report.ranking] == [
        teachers[i] for i in np.argsort(losses)
    ]
    numbers = problem.task == "values"
    found = [row.mean_squared_error if numbers else row.cross_entropy for row in report.ranking]
    return found, np.sort(losses)


@reads("values")
def pseudo_label(problem, folder):
    teachers = [problem.model(f"teacher_{seed}", seed, compiled=True) for seed in (1, 2)]
    data = tf.data.Dataset.from_tensor_slices(X).batch(10)
    result = kd.pseudo_label(teachers, data, 0.0)
    labels = np.concatenate([y for _, y in result.dataset.as_numpy_iterator()])
    squash = (lambda z: np.exp(log_softmax(z))) if problem.task == "classes" else sigmoid
    mean = np.mean([squash(problem.scores(teacher)) for teacher in teachers], 0)
    return labels, problem.decisions(mean if problem.task == "classes" else mean - 0.5)


# Other distillers and recipes.


@reads()
def self_distiller(problem, folder):
    student = problem.model("student", 1)
    before = problem.scores(student)
    distiller = kd.SelfDistiller(student, decay=0.9)
    student.set_weights(problem.model("other", 2).get_weights())
    logged = logs(distiller, problem)
    (name,) = distiller.objective.names
    return logged[name], problem.divergence(before, problem.scores(student), 4.0).mean()


@reads()
def mutual_learning(problem, folder):
    students = [problem.model(name, seed) for seed, name in enumerate("ab")]
    distiller = kd.MutualLearning(students)
    logged = logs(distiller, problem)
    a, b = (problem.scores(student) for student in students)
    found = [logged[name] for name in distiller.objective.names]
    return found, [problem.divergence(b, a, 4.0).mean(), problem.divergence(a, b, 4.0).mean()]


@reads()
def distill_chain(problem, folder):
    models = [problem.model(f"model_{seed}", seed) for seed in (1, 2)]
    still = keras.optimizers.SGD(0.0)
    result = kd.distill_chain(
        models,
        *(X, problem.labels),
        loss=problem.loss,
        optimizer=still,
        epochs=1,
        batch_size=len(X),
        verbose=0,
    )
    history = result.histories["model_2"].history
    teacher, student = (problem.scores(model) for model in models)
    name = "outputs_mse" if problem.task == "values" else "soft_targets"
    return history[name][0], problem.divergence(teacher, student).mean()


def cached(problem, folder, **arguments):
    teacher, student = problem.model("teacher", 1, compiled=True), problem.model("student", 0)
    data = tf.data.Dataset.from_tensor_slices((X, problem.labels))
    cache = kd.KnowledgeCache.build(
        teacher, data, folder / "cache", dtype="float32", verbose=0, **arguments
    )
    distiller = kd.Distiller(student, cache.teachers)
    logged = logs(distiller, problem, cache.join(data.batch(len(X))))
    (name,) = distiller.objective.names
    return logged[name], problem.divergence(problem.scores(teacher), problem.scores(student)).mean()


@reads()
def knowledge_cache(problem, folder):
    return cached(problem, folder)


@reads("binary", "labels", "values")
def knowledge_cache_top_k(problem, folder):
    return cached(problem, folder, top_k=3)  # Of four classes, so that the rest is one of them.


# Files, reports and the command line.


def quality(problem, scores, model):
    """Return the scores of a file or an entry, and the right ones."""
    right = problem.quality(problem.scores(model))
    if problem.task == "values":
        assert getattr(scores, "accuracy", None) is None
    return [getattr(scores, name) for name in right], list(right.values())


@reads()
def evaluate(problem, folder):
    model = problem.model("student")
    file = kd.export.to_tflite(model, folder / "m.tflite")
    data = [(X[:9], problem.labels[:9]), (X[9:], problem.labels[9:])]
    return quality(problem, kd.export.evaluate(file, data), model)


@reads()
def verification(problem, folder):
    model = problem.model("student", compiled=True)
    data = (X, problem.labels)
    file = kd.export.to_tflite(model, folder / "m.tflite", verification=data)
    assert file.verification.drop == (None if problem.task == "values" else 0)
    return quality(problem, file.verification, model)


@reads()
def max_drop(problem, folder):
    """A file that was calibrated with unfit data is rejected, by its decisions or its numbers."""
    model = problem.model("student", compiled=True)
    right = problem.decisions(problem.scores(model)) if problem.task != "values" else X[:, :3]
    unfit = {"calibration": 1e-3 * X, "max_drop": 1.0}
    with pytest.raises(kd.export.VerificationError) as error:
        kd.export.to_tflite(
            model, folder / "m.tflite", "int8", verification=(X, right.astype("float32")), **unfit
        )
    by_decisions = "points of accuracy" in str(error.value)
    return by_decisions, problem.task != "values"


@reads()
def best(problem, folder):
    model = problem.model("student", compiled=True)
    data, formats = (X, problem.labels), ("float32", "int8")
    unfit = {"verification": data, "formats": formats, "objective": "size"}
    file = kd.export.best(
        model, (1e-3 * X, problem.labels), folder / "m.tflite", max_drop=0.0, **unfit
    )
    assert file.quantization == "float32"
    return quality(problem, file.verification, model)


@reads()
def layer_errors(problem, folder):
    model = problem.model("student", compiled=True)
    file = kd.export.to_tflite(
        model, folder / "m.tflite", "int8", X, verification=(X, problem.labels), max_drop=100
    )
    errors = kd.export.layer_errors(file, model, X, samples=len(X))
    return errors[-1].error, file.verification.relative_difference


@reads()
def compare(problem, folder):
    teacher, student = (problem.model(name, seed) for seed, name in enumerate(("t", "s")))
    data = [(X, problem.labels)]
    report = kd.report.compare({"t": teacher, "s": student}, data, folder / "r.html", runs=1)
    found, right = quality(problem, report["s"], student)
    one, other = problem.scores(teacher), problem.scores(student)
    if problem.task == "values":
        assert report["s"].agreement is None
        spread = (np.sqrt(((one - other) ** 2).mean(0)) / one.std(0)).max()
        return [*found, report["s"].relative_difference], [*right, spread]
    agreement = (problem.decisions(one) == problem.decisions(other)).mean()
    divergence = problem.divergence(one, other, 1.0).mean()
    found += [report["s"].agreement, report["s"].divergence]
    return found, [*right, agreement, divergence]


@reads()
def command_line(problem, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    teacher, student = problem.model("teacher", 1), problem.model("student", 0)
    teacher.save("teacher.keras")
    student.save("student.keras")
    Path("mine").mkdir()
    for part in ("train", "test"):
        np.savez(f"mine/{part}.npz", x=X, y=problem.labels)
    line = "distill teacher.keras student.keras --data mine --out out --epochs 1 --json"
    capsys.readouterr()
    assert main(line.split()) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["task"] == problem.task
    name = "rmse" if problem.task == "values" else "accuracy"
    return numbers[f"teacher_{name}"], problem.quality(problem.scores(teacher))[name]


def right_or_refused(run, refused):
    """Check that something gives the right number, or is refused in words of the task."""
    if not refused:
        found, right = run()
        np.testing.assert_allclose(found, np.asarray(right, "float64"), rtol=2e-3, atol=1e-5)
        return
    with pytest.raises((ValueError, TypeError)) as error:
        run()
    raised_in = Path(traceback.extract_tb(error.value.__traceback__)[-1].filename)
    assert Path(kd.__file__).parent in raised_in.parents, error.value
    assert REFUSAL.search(str(error.value)), error.value


#: Cells that convert and run files, which takes longer.
FILES = ("evaluate", "verification", "max_drop", "best", "layer_errors", "compare", "command_line")
#: Both heads for the functions that decide how outputs are read; for the others every second pair
#: of task and head, so that each function and each task has both.
HEADS, BOTH = ("activated", "linear"), ("default_loss", "soft_targets", "outputs_mse", "evaluate")
CASES = [
    pytest.param(name, task, head, marks=[pytest.mark.slow] * (name in FILES))
    for i, name in enumerate(CELLS)
    for j, task in enumerate(UNITS)
    for k, head in enumerate(HEADS)
    if name in BOTH or (i + j + k) % 2 == 0
]


@pytest.mark.parametrize(("name", "task", "head"), CASES)
def test_each_function_is_right_or_refused_for_each_task(
    name, task, head, tmp_path, monkeypatch, capsys
):
    run, refused = CELLS[name]
    more = (monkeypatch, capsys) if name == "command_line" else ()
    right_or_refused(lambda: run(Problem(task, head), tmp_path, *more), task in refused)


def test_the_matrix_is_complete():
    """At least 14 functions; those that are refused for no task are right for all of them."""
    assert len(CELLS) >= 14
    assert sum(not refused for _, refused in CELLS.values()) >= 14
