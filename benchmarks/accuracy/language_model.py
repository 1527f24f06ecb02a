"""Perplexity of a small causal language model of KerasHub, alone and distilled, on reviews of IMDB.

Teacher and students have the backbone of GPT-2 and start from random weights. A token is one of the
2,000 most frequent words, or one token for all others; a sequence is 64 words of a review, padded
at its end. The teacher is trained on sequences of other reviews than the students. The students
have the same sequences and number of steps: alone, distilled from all logits of the live teacher,
and from a cache of its 32 largest logits per token. Padding has a weight of 0. The learning rate is
chosen for each method on validation sequences. Perplexity of all words of the test sequences after
the last step.
"""

import math
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import keras_kd as kd
from benchmarks.accuracy.imdb_keras_hub import build_vocabulary, fit
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared import training
from benchmarks.shared.training import CACHE, load_arrays, load_or_train

WORDS, LENGTH, TOP_K = 2_000, 64, 32
STEPS, BATCH, TEACHER_STEPS = 400, 32, 800
RATES = (3e-3, 1e-2, 3e-2)
#: Numbers of reviews, and of sequences.
REVIEWS = {
    "students": slice(0, 3_000),
    "teacher": slice(3_000, 23_000),
    "tune": slice(23_000, None),
}
SEQUENCES = {"students": 8_000, "teacher": 48_000, "tune": 1_000, "test": 3_000}
METHODS = {"alone": "student alone", "live": "distilled, all logits", "top k": "distilled, top 32"}


def plan(done, seeds, quick):
    jobs = [({"stage": "teacher"}, 0)]
    if jobs[0] not in done:
        return jobs  # The students need it.
    for method in METHODS:
        where = {"stage": "tune", "method": method}
        tuning = [({**where, "rate": rate}, 100) for rate in RATES[: 1 if quick else None]]
        jobs += tuning
        if all(job in done for job in tuning):
            best = min(done.where(**where), key=lambda run: run["metrics"]["perplexity"])
            cell = {**where, "stage": "test", "rate": best["cell"]["rate"]}
            jobs += [(cell, seed) for seed in range(seeds)]
    return jobs


def run(cell, seed, quick):
    if cell["stage"] == "teacher":
        teacher = load_teacher(quick)
        return {"perplexity": perplexity(teacher, "test"), "parameters": teacher.count_params()}
    keras.utils.set_random_seed(seed)
    student = build_model(1, 48)
    model, batches = prepare_training(cell["method"], student, seed, quick)
    # Without clipping, one of three seeds diverges for a while at the best rates.
    fit(model, batches, 2 if quick else STEPS, cell["rate"], global_clipnorm=1.0)
    part = "tune" if cell["stage"] == "tune" else "test"
    return {"perplexity": perplexity(student, part), "parameters": student.count_params()}


def prepare_training(method, student, seed, quick):
    """Return the model that trains the student, and its batches."""
    samples = tf.data.Dataset.from_tensor_slices(load_sequences("students"))
    if method == "alone":
        return kd.Distiller(student, [], [], student_loss_weight=1.0), repeat(samples, seed)
    soft, teacher = kd.losses.SoftTargets(temperature=1), load_teacher(quick)
    if method == "live":
        return kd.Distiller(student, teacher, soft), repeat(samples, seed)
    folder = CACHE / f"language_model_outputs{'_quick' if quick else ''}"
    cache = kd.KnowledgeCache.build(teacher, samples, folder, top_k=TOP_K, verbose=0)
    return kd.Distiller(student, cache.teachers, soft), cache.join(repeat(kd.keyed(samples), seed))


def repeat(samples, seed):
    """Return endless batches, shuffled again in each pass."""
    return samples.shuffle(SEQUENCES["students"], seed=seed).repeat().batch(BATCH).prefetch(2)


def load_teacher(quick):
    def train():
        keras.utils.set_random_seed(1000)
        teacher = build_model(2, 160, dropout=0.1)
        samples = tf.data.Dataset.from_tensor_slices(load_sequences("teacher"))
        fit(teacher, repeat(samples, 0), 2 if quick else TEACHER_STEPS, 2e-3)
        return teacher

    import keras_hub  # noqa: F401 Registers the layers that are loaded.

    return load_or_train(f"language_model_teacher{'_quick' if quick else ''}", train)


def build_model(depth, width, dropout=0.0):
    """Return a causal language model: logits of the next token at each position."""
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=WORDS,
        num_layers=depth,
        num_heads=4,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=LENGTH,
        dropout=dropout,
    )
    return keras_hub.models.GPT2CausalLM(backbone=backbone)


def perplexity(model, part):
    """Return the exponential of the mean cross-entropy of all words."""
    x, y, weights = load_sequences(part)
    total = 0.0
    for i in range(0, len(y), 250):
        rows = slice(i, i + 250)
        logits = model.predict_on_batch({name: value[rows] for name, value in x.items()})
        losses = ops.sparse_categorical_crossentropy(y[rows], logits, from_logits=True)
        total += float(ops.sum(losses * weights[rows]))
    return math.exp(total / weights.sum())


@lru_cache(maxsize=4)
def load_sequences(part):
    """Return inputs by name, the next tokens, and weights that are 0 for padding."""
    reviews = load_arrays("imdb_reviews", "test" if part == "test" else "train")[0]
    rows = REVIEWS.get(part, slice(0, 2_000)) if not training.quick_mode else slice(0, 64)
    ids = [row for review in tokenize(reviews[rows]) for row in cut(review)]
    ids = np.stack(ids[: SEQUENCES[part]])
    mask = (ids[:, :-1] > 0).astype("int32")
    weights = (ids[:, 1:] > 0).astype("float32")
    return {"token_ids": ids[:, :-1], "padding_mask": mask}, ids[:, 1:], weights


def cut(review):
    """Return a review in rows of tokens, the last one padded; each row repeats the last token."""
    rows = [review[i : i + LENGTH + 1] for i in range(0, max(len(review) - 1, 1), LENGTH)]
    return [np.pad(row, (0, LENGTH + 1 - len(row))).astype("int32") for row in rows]


def tokenize(reviews):
    vectorize = build_vocabulary(WORDS)
    for i in range(0, len(reviews), 1000):
        yield from (row.numpy() for row in vectorize(reviews[i : i + 1000]))


def report(done):
    teacher = done.where(stage="teacher")
    if not teacher or not done.where(stage="test"):
        return ""
    found = teacher[0]["metrics"]
    rows = [["teacher", f"{found['parameters']:,}", f"{found['perplexity']:.1f} (1\u00a0run)"]]
    for method, name in METHODS.items():
        runs = done.where(stage="test", method=method)
        if runs:
            values = done.values("perplexity", stage="test", method=method)
            rows.append([name, f"{runs[0]['metrics']['parameters']:,}", mean_sd(values, 1, 1)])
    return f"{table(['', 'parameters', 'test perplexity'], rows)}\n\n{measured_on(done)}"
