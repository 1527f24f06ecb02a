"""A text classifier of KerasHub from teacher to int8 file, on reviews of IMDB.

The teacher has the backbone of BERT, the student that of DistilBERT; both average their states over
the words. Of 10,000 training reviews, 1,000 have a label; the teacher is trained on 13,000 other
ones. A review is its last 128 words of the 10,000 most frequent ones. Students have the same number
of steps of 64 reviews: alone on the labeled reviews, distilled on all, with the teacher's outputs
from a cache. The learning rate is chosen for each method on 2,000 further reviews; other settings
are defaults. Accuracy on all test reviews after the last step; the int8 file is that of the
distilled student, verified on 1,000 of the further reviews.
"""

import tempfile
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared.training import (
    CACHE,
    accuracy,
    load_arrays,
    load_or_train,
    sparse_loss,
)
from benchmarks.teacher_class.data import keep_words

WORDS, LENGTH = 10_000, 128
STEPS, BATCH = 640, 64
LABELS, RATES = 1_000, (1e-4, 3e-4, 1e-3, 3e-3)
#: The students' reviews, those of the teacher, and those that rates are chosen on.
POOL, OTHERS, VALIDATION = slice(0, 10_000), slice(10_000, 23_000), slice(23_000, 25_000)
METHODS = {"alone": "student alone", "distilled": "student, distilled"}


def plan(done, seeds, quick):
    jobs = [({"stage": "teacher"}, 0)]
    if jobs[0] not in done:
        return jobs  # The students need it.
    for method in METHODS:
        where = {"stage": "tune", "method": method, "labels": LABELS}
        tuning = [({**where, "rate": rate}, 100) for rate in RATES[: 1 if quick else None]]
        jobs += tuning
        if all(job in done for job in tuning):
            rate = done.best("accuracy", ("rate",), **where)["rate"]
            jobs += [({**where, "stage": "test", "rate": rate}, seed) for seed in range(seeds)]
    return jobs


def run(cell, seed, quick):
    if cell["stage"] == "teacher":
        teacher = load_teacher(quick)
        return {"accuracy": accuracy(teacher, *load_test()), "parameters": teacher.count_params()}
    keras.utils.set_random_seed(seed)
    student = build_reader("DistilBert", 1, 32)
    steps = 2 if quick else STEPS
    model, batches = prepare_training(cell["method"], student, cell["labels"], seed, quick)
    fit(model, batches, steps, cell["rate"])
    if cell["stage"] == "tune":
        return {"accuracy": score(student, *load_reviews(VALIDATION))}
    metrics = {"accuracy": score(student, *load_test()), "parameters": student.count_params()}
    return metrics if cell["method"] == "alone" else {**metrics, **export(student)}


def fit(model, batches, steps, rate, **optimizer):
    """Train with Adam; the learning rate rises for a tenth of the steps, then decays to zero."""
    warmup = {"warmup_target": rate, "warmup_steps": steps // 10}
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps - steps // 10, **warmup)
    adam = keras.optimizers.Adam(schedule, **optimizer)
    model.compile(adam, sparse_loss(), run_eagerly=steps < 10)
    model.fit(batches, steps_per_epoch=steps, verbose=0)


def prepare_training(method, student, labels, seed, quick):
    """Return the model that trains the student, and its batches."""
    x, y = load_reviews(POOL)
    y = np.where(np.arange(len(y)) < labels, y, kd.UNLABELED)
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    if method == "alone":
        # It also takes its own keys of the batch, of which the teacher has more.
        return kd.Distiller(student, [], [], student_loss_weight=1.0), repeat_batches(
            samples.take(labels), seed
        )
    folder = CACHE / f"imdb_keras_hub_outputs{'_quick' if quick else ''}"
    # Two logits take little space; those of a barely trained teacher differ too little for float16.
    cache = kd.KnowledgeCache.build(
        load_teacher(quick), samples, folder, dtype="float32", verbose=0
    )
    distiller = kd.Distiller(student, cache.teachers, kd.losses.SoftTargets())
    return distiller, cache.join(repeat_batches(kd.keyed(samples), seed))


def repeat_batches(samples, seed):
    """Return endless batches, shuffled again in each pass."""
    return samples.shuffle(POOL.stop, seed=seed).repeat().batch(BATCH).prefetch(2)


def export(student):
    """Return the scores of the int8 file: its accuracy, its size, and the verification's."""
    x, y = load_reviews(VALIDATION)
    student.compile(loss=sparse_loss())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        file = kd.export.to_tflite(student, path, "int8", x, verification=(x, y))
        return {
            "int8_accuracy": kd.export.evaluate(file, load_test()).accuracy,
            "int8_bytes": file.size,
            "verified_drop": file.verification.drop,
        }


def load_teacher(quick):
    def train():
        keras.utils.set_random_seed(1000)
        teacher = build_reader("Bert", 2, 64, dropout=0.2)
        samples = tf.data.Dataset.from_tensor_slices(load_reviews(OTHERS))
        fit(teacher, repeat_batches(samples, 0), 2 if quick else STEPS, 1e-3)
        return teacher

    import keras_hub  # noqa: F401 Registers the layers that are loaded.

    return load_or_train(f"imdb_keras_hub_teacher{'_quick' if quick else ''}", train)


def build_reader(family, depth, width, dropout=0.1):
    """Return a backbone of KerasHub, the mean of its states over the words, and two logits."""
    import keras_hub

    backbone = getattr(keras_hub.models, f"{family}Backbone")(
        vocabulary_size=WORDS,
        num_layers=depth,
        num_heads=2,
        hidden_dim=width,
        intermediate_dim=2 * width,
        max_sequence_length=LENGTH,
        dropout=dropout,
    )
    states = backbone.output
    if isinstance(states, dict):
        states = states["sequence_output"]
    states = keras.Model(backbone.input, states, name="backbone")
    # The length is fixed, as in the file.
    inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in backbone.input}
    x = layers.GlobalAveragePooling1D(name="pooled")(states(inputs), mask=inputs["padding_mask"])
    x = layers.Dense(2, name="logits")(layers.Dropout(dropout)(x))
    return keras.Model(inputs, x, name="student" if family == "DistilBert" else "teacher")


def score(student, x, y):
    """Return the accuracy of a student, which takes some of the keys."""
    return accuracy(student, {name: x[name] for name in student.input}, y)


def load_reviews(part):
    """Return a part of the training reviews, as inputs by name and labels."""
    ids, labels = tokenize("train")
    part = part if len(labels) == 25_000 else slice(None)  # All of a quick run.
    return to_inputs(ids[part]), labels[part]


def load_test():
    ids, labels = tokenize("test")
    return to_inputs(ids), labels


def to_inputs(ids):
    """Return the inputs of both models; the student takes no `segment_ids`."""
    mask = (ids > 0).astype("int32")
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask}


@lru_cache(maxsize=2)
def tokenize(split):
    """Return the indices of the last words of each review, then zeros, and the labels."""
    reviews, labels = load_arrays("imdb_reviews", split)
    vectorize, ids = build_vocabulary(), np.zeros((len(reviews), LENGTH), "int32")
    for i in range(0, len(reviews), 1000):
        for row, review in zip(ids[i : i + 1000], vectorize(reviews[i : i + 1000]), strict=True):
            last = review[-LENGTH:].numpy()
            row[: len(last)] = last
    return ids, labels


@lru_cache(maxsize=1)
def build_vocabulary(words=WORDS):
    vectorize = layers.TextVectorization(words, standardize=keep_words, ragged=True)
    vectorize.adapt(load_arrays("imdb_reviews", "train")[0])
    return vectorize


def report(done):
    teacher, students = done.where(stage="teacher"), done.where(stage="test", method="distilled")
    if not students:
        return ""
    found = {name: run["metrics"] for name, run in (("t", teacher[0]), ("s", students[0]))}
    score = f"{100 * found['t']['accuracy']:.2f} (1\u00a0run)"
    size = f"{found['s']['int8_bytes'] / 1000:.0f} kB"
    parameters = f"{found['s']['parameters']:,}"
    rows = [["teacher (BERT)", f"{found['t']['parameters']:,}", score]]
    rows += [
        [name, parameters, mean_sd(done.values("accuracy", stage="test", method=method), 100)]
        for method, name in METHODS.items()
    ]
    exported = done.values("int8_accuracy", stage="test", method="distilled")
    rows.append(["its int8 file", size, mean_sd(exported, 100)])
    drops = done.values("verified_drop", stage="test", method="distilled")
    return (
        f"{table(['', 'parameters', 'test accuracy %'], rows)}\n\n"
        f"The verification of the files found {mean_sd(drops)} points less accuracy than in Keras. "
        f"{measured_on(done)}"
    )
