"""Data set, teacher, students and training that the Teacher-Class Network benchmarks share.

Without augmentation a teacher has the same outputs for a sample in every epoch, so it runs once and
its outputs are replayed: the students get the weights that a live teacher gives. All trainings use
Adam and a cosine schedule that decays to zero, in batches of 128 unless stated otherwise.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    RecordedTeachers,
    compile_and_fit,
    load_or_train,
    sparse_loss,
)
from benchmarks.teacher_class.data import load_samples

LAYER = "features"
_RECORDED = {}


@dataclass(frozen=True)
class Problem:
    """Data set with its teacher, its Teacher-Class Networks, and a single student to compare with.

    Test accuracy after the last epoch; learning rates and students were chosen on training samples
    that were held out.

    Attributes:
        data: The data set; `splits` are those for training and test.
        teacher: Builds the teacher, which is trained with `teacher_settings` once.
        students: Builds the students of each network.
        single: Builds a student with as many parameters as the whole network.
        mimicry: Learning rate and epochs of each network's mimicry.
        tuning: Learning rate and epochs of distilling the network from its labels and the teacher.
            The single student is distilled for these epochs and those of the mimicry.
        titles: Of the rows of the table.
        authors: Results of the authors' notebooks.
        measure: Title of the metric, which the table shows in percent.
    """

    data: str
    teacher: Callable[[], keras.Model]
    teacher_settings: dict
    students: dict[str, Callable[[], list[keras.Model]]]
    single: Callable[[], keras.Model]
    mimicry: dict[str, dict]
    tuning: dict
    titles: dict[str, str]
    authors: dict[str, str] = field(default_factory=dict)
    splits: tuple[str, str] = ("train", "test")
    measure: str = "test accuracy %"

    def plan(self, done, seeds, quick):
        """One run for the teacher, one per seed for everything else."""
        models = ("teacher", "class") if quick else self.titles
        runs = {model: 1 if model == "teacher" else seeds for model in models}
        return [({"model": m}, seed) for m, count in runs.items() for seed in range(count)]

    def run(self, cell, seed, quick):
        x, y = self.training_samples(quick)
        test = load_samples(self.data, quick_split(self.splits[1], quick))
        name, metrics = cell["model"], {}
        if name == "teacher":
            model = self.load_teacher(quick)
        elif name in ("single", "whole"):
            model = self.distill_student(name, seed, quick)
        else:
            model = self.mimic_teacher(name, seed, quick)
            metrics["mimicry"] = score(model, *test)
            weights = model.get_layer("teacher_head").get_weights()
            tune_head(model, x, y, seed=seed, learning_rate=1e-3, epochs=1 if quick else 5)
            metrics["head"] = score(model, *test)
        if name == "class":
            model.get_layer("teacher_head").set_weights(weights)
            recorded = self.record_teacher("logits", quick)
            distill(recorded, x, y, model, seed=seed, **shorten(self.tuning, quick))
        return {**metrics, "accuracy": score(model, *test), **measure_costs(model, x, *test)}

    def training_samples(self, quick):
        return load_samples(self.data, quick_split(self.splits[0], quick))

    def record_teacher(self, tap, quick, count=None):
        """Return the recorded outputs of a layer of the teacher for the training samples.

        Args:
            tap: The layer.
            quick: Whether this is a quick run.
            count: Number of samples, from the first. Defaults to all.
        """
        key = (self.data, tap, quick, count)
        if key not in _RECORDED:
            x, _ = self.training_samples(quick)
            teacher = self.load_teacher(quick)
            _RECORDED[key] = RecordedTeachers(teacher, x[:count], (tap,), batch_size=100)
        return _RECORDED[key]

    def distill_student(self, name, seed, quick):
        """Return a single student, or the whole network as one model, distilled from the start."""
        x, y = self.training_samples(quick)
        recorded = self.record_teacher("logits", quick)
        keras.utils.set_random_seed(seed)
        if name == "single":
            model = self.single()
        else:
            students = self.students["class"]()
            model = kd.TeacherClass.assemble_from(self.load_teacher(quick), LAYER, students)
        epochs = self.mimicry["class"]["epochs"] + self.tuning["epochs"]
        distill(recorded, x, y, model, seed=seed, **shorten(self.tuning, quick, epochs))
        return model

    def mimic_teacher(self, name, seed, quick):
        """Return an assembled network after its mimicry, kept on disk for other benchmarks."""

        def train():
            x, y = self.training_samples(quick)
            recorded = self.record_teacher(LAYER, quick)
            keras.utils.set_random_seed(seed)
            students = self.students[name]()
            mimic(recorded, x, y, students, seed=seed, **shorten(self.mimicry[name], quick))
            return kd.TeacherClass.assemble_from(self.load_teacher(quick), LAYER, students)

        return load_or_train(f"class_{self.data}_{name}_{seed}{'_quick' if quick else ''}", train)

    def load_teacher(self, quick):
        def train():
            keras.utils.set_random_seed(1000)
            model = self.teacher()
            settings = shorten(self.teacher_settings, quick)
            compile_and_fit(model, *self.training_samples(quick), loss=loss_for(model), **settings)
            return model

        return load_or_train(f"class_teacher_{self.data}{'_quick' if quick else ''}", train)

    def report(self, done):
        rows = []
        for model, title in self.titles.items():
            runs = done.where(model=model)
            if runs:
                rows.append([title, *self._numbers(done, model, runs[0]["metrics"])])
        header = [self.measure, "mimicry alone", "head tuned", "all distilled"]
        costs = ["int8 %", "parameters", "million MACs", "int8 kB", "int8 µs"]
        return table([*header, *(["authors"] if self.authors else []), *costs], rows)

    def _numbers(self, done, model, first):
        def mean(metric, scale=100.0, digits=2):
            return mean_sd(done.values(metric, model=model), scale, digits)

        mimicry, head = (mean(name) if name in first else "" for name in ("mimicry", "head"))
        final = "" if model.startswith("authors") else mean("accuracy")
        numbers = [mimicry, head, final]
        if self.authors:
            numbers.append(self.authors.get(model, ""))
        numbers += [mean("int8_accuracy"), f"{first['parameters']:,}", f"{first['macs'] / 1e6:.2f}"]
        return [*numbers, f"{first['int8_bytes'] / 1000:.1f}", mean("int8_us", 1, 0)]


def quick_split(split, quick):
    """Return a split, or its first samples for a quick run."""
    return f"{split.split('[')[0]}[:32]" if quick else split


def shorten(settings, quick, epochs=None):
    return {**settings, "epochs": 1 if quick else epochs or settings["epochs"]}


def mimic(recorded, x, y, students, arguments=None, **settings):
    """Train students on the recorded representation of the teacher; return the history."""
    wrapped = [recorded.student(student) for student in students]
    model = kd.TeacherClass(recorded.models[0], LAYER, wrapped, **(arguments or {}))
    return compile_and_fit(model, recorded.inputs(x), y, loss=None, **settings)


def tune_head(model, x, y, **settings):
    """Train the head of an assembled network on labels; the students stay unchanged."""
    head = model.get_layer("teacher_head")
    body = keras.Model(model.inputs, model.get_layer("activation").output)
    features = body.predict(x, batch_size=100, verbose=0)
    compile_and_fit(head, features, y, loss=loss_for(model), **settings)


def distill(recorded, x, y, model, **settings):
    """Train a model on labels and the recorded logits of the teacher, at T = 4."""
    distiller = kd.Distiller(recorded.student(model), recorded.teacher, kd.losses.SoftTargets())
    compile_and_fit(distiller, recorded.inputs(x), y, loss=loss_for(model), **settings)


def loss_for(model):
    """Return the loss on labels: binary for one logit, else of class indices."""
    if model.output_shape[-1] == 1:
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if len(model.output_shape) == 4:
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=kd.UNLABELED
        )
    return sparse_loss()


def score(model, x, y):
    """Return the score of a model that outputs logits."""
    return score_logits(model.predict(x, batch_size=100, verbose=0), y)


def score_logits(logits, y):
    """Return the accuracy, or for maps the mean intersection over union of the classes."""
    predicted = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
    if y.ndim == 1:
        return float(np.mean(predicted == y))
    predicted, y = predicted[y != kd.UNLABELED], y[y != kd.UNLABELED]
    unions = [np.sum((predicted == c) | (y == c)) for c in range(logits.shape[-1])]
    overlaps = [np.sum((predicted == c) & (y == c)) for c in range(logits.shape[-1])]
    return float(np.mean([a / b for a, b in zip(overlaps, unions, strict=True) if b]))


def measure_costs(model, calibration, x, y):
    """Return parameters, multiplications, and score, size and fastest run of the int8 file."""
    with tempfile.TemporaryDirectory() as folder:
        file = kd.export.to_tflite(model, Path(folder) / "model.tflite", "int8", calibration)
        measured = kd.export.benchmark(file)
        return {
            "parameters": model.count_params(),
            "macs": measured.macs,
            "int8_accuracy": score_logits(file.predict(x), y),
            "int8_bytes": file.size,
            "int8_us": measured.latencies[0].min_us,
        }
