"""What the benchmarks of the Teacher-Class Network share: data, records, training, costs.

Without augmentation a frozen teacher says the same of a sample in every epoch. So it is asked once,
and a stand-in repeats what its layer `features` gave: the students' weights are those of a live
teacher. All use Adam and a cosine schedule down to nought, batches of 128.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import arrays, compile_and_fit, kept, sparse_loss

LAYER = "features"
#: The class of CamVid's places that belong to none.
VOID = 11
#: What the teachers said, by data set: the jobs of a process ask each once.
SPOKEN = {}


@dataclass(frozen=True)
class Problem:
    """A data set with its teacher, classes of students, and a single student to compare them with.

    Test accuracy after the last epoch; rates and students were chosen on training samples held out.

    Attributes:
        data: The data set; `splits` are those for training and test.
        teacher: Builds the teacher, which is trained with `teacher_settings` once.
        students: Builds the students of each class.
        single: Builds a student of as many parameters as the class in all.
        mimicry: Rate and epochs of each class.
        tuning: Rate and epochs of distilling the class, from its labels and the teacher. The single
            student has these after as many epochs as the class has had for its mimicry.
        titles: Of the rows of the table.
        authors: What the authors' notebooks print.
        measure: What is measured, of which the table has per cent.
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
        """One run for the teacher, one of each seed for everything else."""
        some = ("teacher", "class") if quick else self.titles
        runs = {model: 1 if model == "teacher" else seeds for model in some}
        return [({"model": m}, seed) for m, count in runs.items() for seed in range(count)]

    def run(self, cell, seed, quick):
        x, y = self.training(quick)
        test = samples(self.data, part(self.splits[1], quick))
        model, found = cell["model"], {}
        if model == "teacher":
            net = self.kept_teacher(quick)
        elif model in ("single", "whole"):
            net = self.distilled(model, seed, quick)
        else:
            net = self.mimicked(model, seed, quick)
            found["mimicry"] = score(net, *test)
            weights = net.get_layer("teacher_head").get_weights()
            tune_head(net, x, y, seed=seed, learning_rate=1e-3, epochs=1 if quick else 5)
            found["head"] = score(net, *test)
        if model == "class":
            net.get_layer("teacher_head").set_weights(weights)
            _, logits = self.records(quick)
            distill(logits, y, net, seed=seed, **shortened(self.tuning, quick))
        return {**found, "accuracy": score(net, *test), **costs(net, x, *test)}

    def training(self, quick):
        return samples(self.data, part(self.splits[0], quick))

    def records(self, quick, count=None):
        """What the teacher says of the training samples: its representation, and its logits.

        Args:
            quick: Whether this is to prove that a benchmark runs.
            count: How many of them, from the beginning; `None` for all.
        """
        x, _ = self.training(quick)
        if (self.data, quick) not in SPOKEN:
            teacher = self.kept_teacher(quick)
            shown = [teacher.get_layer(LAYER).output, teacher.outputs[0]]
            speaking = keras.Model(teacher.inputs, shown)
            SPOKEN[self.data, quick] = speaking.predict(x, batch_size=100, verbose=0)
        teacher_outputs, logits = (values[:count] for values in SPOKEN[self.data, quick])
        return Record(x[:count], teacher_outputs, LAYER), Record(x[:count], logits, "logits")

    def distilled(self, model, seed, quick):
        """A single student, or the whole class as one model, distilled from the start."""
        _, y = self.training(quick)
        _, logits = self.records(quick)
        keras.utils.set_random_seed(seed)
        if model == "single":
            net = self.single()
        else:
            students = self.students["class"]()
            net = kd.TeacherClass.assemble_from(self.kept_teacher(quick), LAYER, students)
        epochs = self.mimicry["class"]["epochs"] + self.tuning["epochs"]
        distill(logits, y, net, seed=seed, **shortened(self.tuning, quick, epochs))
        return net

    def mimicked(self, model, seed, quick):
        """A class that has mimicked its teacher, assembled; kept for other benchmarks."""

        def make():
            _, y = self.training(quick)
            teacher_outputs, _ = self.records(quick)
            keras.utils.set_random_seed(seed)
            students = self.students[model]()
            mimic(teacher_outputs, y, students, seed=seed, **shortened(self.mimicry[model], quick))
            return kd.TeacherClass.assemble_from(self.kept_teacher(quick), LAYER, students)

        return kept(f"class_{self.data}_{model}_{seed}{'_quick' if quick else ''}", make)

    def kept_teacher(self, quick):
        def make():
            keras.utils.set_random_seed(1000)
            model = self.teacher()
            x, y = samples(self.data, part(self.splits[0], quick))
            compile_and_fit(
                model, x, y, loss=loss_for(model), **shortened(self.teacher_settings, quick)
            )
            return model

        return kept(f"class_teacher_{self.data}{'_quick' if quick else ''}", make)

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


def part(split, quick):
    """A split, or its first samples to prove that a benchmark runs."""
    return f"{split.split('[')[0]}[:32]" if quick else split


def shortened(settings, quick, epochs=None):
    return {**settings, "epochs": 1 if quick else epochs or settings["epochs"]}


@lru_cache(maxsize=4)
def samples(data, split):
    """A split as arrays; reviews as the numbers of their last 500 words, masks without void."""
    x, y = arrays(data, split)
    if data == "imdb_reviews":
        return tokens(x), y
    if data == "camvid_small":
        return x, np.where(y[..., 0] == VOID, kd.UNLABELED, y[..., 0].astype("int32"))
    return x, y


def tokens(reviews):
    """The last 500 words of each review, by their numbers, as the authors take them."""
    words, rows = vocabulary(), np.zeros((len(reviews), 500), "int32")
    for i in range(0, len(reviews), 1000):
        for row, review in enumerate(words(reviews[i : i + 1000]), i):
            last = review[-500:].numpy()
            rows[row, 500 - len(last) :] = last
    return rows


@lru_cache(maxsize=1)
def vocabulary():
    """The 1,000 most frequent words of the training reviews."""
    words = layers.TextVectorization(1000, standardize=only_words, ragged=True)
    words.adapt(arrays("imdb_reviews", "train")[0])
    return words


def only_words(texts):
    """Small letters, without marks and line breaks."""
    texts = tf.strings.regex_replace(tf.strings.lower(texts), "<br />", " ")
    return tf.strings.regex_replace(texts, "[^a-z0-9']+", " ")


class Record:
    """What a teacher said of some samples, and a stand-in for it that takes samples and record."""

    def __init__(self, x, values, name):
        self.x, self.values, self.name = x, values, name
        inputs = self._inputs()
        self.teacher = keras.Model(inputs, layers.Identity(name=name)(inputs["said"]))

    def student(self, model):
        """The model as one that takes samples and record; it does not look at the record."""
        inputs = self._inputs()
        return keras.Model(inputs, model(inputs["x"]))

    def fit(self, model, y, **settings):
        return compile_and_fit(model, {"x": self.x, "said": self.values}, y, **settings)

    def _inputs(self):
        shapes = {"x": self.x, "said": self.values}
        return {n: keras.Input(v.shape[1:], dtype=v.dtype, name=n) for n, v in shapes.items()}


def mimic(teacher_outputs, y, students, **settings):
    """Trains a class on the record of its teacher's representation; gives the history."""
    arguments = settings.pop("arguments", {})
    alone = [teacher_outputs.student(student) for student in students]
    model = kd.TeacherClass(teacher_outputs.teacher, LAYER, alone, **arguments)
    return teacher_outputs.fit(model, y, loss=None, **settings)


def tune_head(model, x, y, **settings):
    """Trains the head of an assembled class from labels, the students as they are."""
    head = model.get_layer("teacher_head")
    body = keras.Model(model.inputs, model.get_layer("activation").output)
    teacher_outputs = body.predict(x, batch_size=100, verbose=0)
    compile_and_fit(head, teacher_outputs, y, loss=loss_for(model), **settings)


def distill(logits, y, model, **settings):
    """Trains a model from labels and from the record of the teacher's logits, with our defaults."""
    teacher = kd.Teacher(logits.teacher, outputs="logits")
    distiller = kd.Distiller(logits.student(model), teacher)
    return logits.fit(distiller, y, loss=loss_for(model), **settings)


def loss_for(model):
    """The loss on labels: of class numbers, or of yes and no where there is one logit."""
    if model.output_shape[-1] == 1:
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if len(model.output_shape) == 4:
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=kd.UNLABELED
        )
    return sparse_loss()


def score(model, x, y):
    """The score of a model that gives logits."""
    return score_of(model.predict(x, batch_size=100, verbose=0), y)


def score_of(logits, y):
    """Share of right answers; of maps the mean intersection over union of the classes."""
    answers = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
    if y.ndim == 1:
        return float(np.mean(answers == y))
    answers, y = answers[y != kd.UNLABELED], y[y != kd.UNLABELED]
    either = [np.sum((answers == c) | (y == c)) for c in range(logits.shape[-1])]
    both = [np.sum((answers == c) & (y == c)) for c in range(logits.shape[-1])]
    return float(np.mean([one / all_ for one, all_ in zip(both, either, strict=True) if all_]))


def costs(model, calibration, x, y):
    """Parameters, multiplications, and the int8 file: score, size, fastest of 200 runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = kd.export.to_tflite(model, Path(folder) / "model.tflite", "int8", calibration)
        measured = kd.export.benchmark(file)
        return {
            "parameters": model.count_params(),
            "macs": measured.macs,
            "int8_accuracy": score_of(file.predict(x), y),
            "int8_bytes": file.size,
            "int8_us": measured.latencies[0].min_us,
        }
