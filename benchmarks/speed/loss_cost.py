"""What each loss costs beside the rest of a distillation step.

A convolutional student of 50,000 parameters learns from a teacher of 1.2 million on batches of 128
images of 28×28. The step without the loss is a plain training step of the student and the teacher's
forward pass. What is timed against it is the loss alone, on features that are given: values and
gradients with respect to the student's tap (and the projector, where there is one), less the time
that calling a function which computes next to nothing takes (in a real step there is no such call).
All are timed in turn, block by block, and the ratio within each block is taken, so that a busy
machine disturbs all of them alike. The share is the loss's part of the whole step: loss / (loss +
student's step + teacher's forward pass).
"""

import time

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import convolutional, sparse_loss

# Timings need the machine to themselves.
ALONE = True
BATCH = 128
# Of the teacher and of the student.
SHAPES = {
    "logits": ((10,), (10,)),
    "features": ((380,), (32,)),
    "block2": ((7, 7, 64), (7, 7, 32)),
}
SHELF = {
    "soft_targets": (kd.losses.SoftTargets, {}, "logits"),
    "soft_targets, jensen_shannon": (
        kd.losses.SoftTargets,
        {"target": "jensen_shannon"},
        "logits",
    ),
    "logits_mse": (kd.losses.LogitsMSE, {}, "logits"),
    "decoupled_kd": (kd.losses.DecoupledKD, {}, "logits"),
    "normalized_kd": (kd.losses.NormalizedKD, {}, "logits"),
    "dist": (kd.losses.DIST, {}, "logits"),
    "logit_standardization": (kd.losses.LogitStandardization, {}, "logits"),
    "hint, vectors": (kd.losses.Hint, {}, "features"),
    "hint, maps": (kd.losses.Hint, {}, "block2"),
    "attention_transfer": (kd.losses.AttentionTransfer, {}, "block2"),
    "neuron_selectivity": (kd.losses.NeuronSelectivity, {}, "block2"),
    "similarity_preserving": (kd.losses.SimilarityPreserving, {}, "block2"),
    "relational_kd": (kd.losses.RelationalKD, {}, "features"),
    "relational_kd, all angles": (
        kd.losses.RelationalKD,
        {"angle_neighbours": None},
        "features",
    ),
    "probabilistic_transfer": (kd.losses.ProbabilisticTransfer, {}, "features"),
    "contrastive_representation": (kd.losses.ContrastiveRepresentation, {}, "features"),
}


def plan(done, seeds, quick):
    names = list(SHELF)[::8] if quick else SHELF
    return [({"loss": name}, seed) for seed in range(seeds) for name in names]


def run(cell, seed, quick):
    """Times one loss: milliseconds, and its share of the step that it is part of."""
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.random((BATCH, 28, 28, 1)), "float32")
    y = tf.constant(rng.integers(0, 10, BATCH))
    loss = loss_alone(*SHELF[cell["loss"]], y, rng)
    step, teach = step_without(x, y, seed)
    blocks, repeats = (2, 2) if quick else (15, 20)
    parts = (loss, called(rng), step, teach)
    times = np.array([[timed(part, repeats) for part in parts] for _ in range(blocks)])
    own, rest = times[:, 0] - times[:, 1], times[:, 2] + times[:, 3]
    return {
        "milliseconds": 1e3 * float(np.median(own)),
        "student_milliseconds": 1e3 * float(np.median(times[:, 2])),
        "teacher_milliseconds": 1e3 * float(np.median(times[:, 3])),
        "share": float(np.median(own / (own + rest))),
        "share_beside_student": float(np.median(own / (own + times[:, 2]))),
    }


def called(rng):
    """A call that computes next to nothing."""
    value = tf.constant(rng.standard_normal(BATCH), "float32")
    function = tf.function(lambda: tf.reduce_mean(value))
    function()
    return function


def step_without(x, y, seed):
    """The student's training step on labels, and the teacher's forward pass."""
    student = convolutional("student", (16, 32), 29, seed=seed)
    teacher = convolutional("teacher", (32, 64), 380, seed=seed + 1)
    student.compile("adam", sparse_loss())
    step = tf.function(lambda: student.train_step((x, y)))
    teach = tf.function(lambda: teacher(x, training=False))
    step(), teach()
    return step, teach


def loss_alone(kind, arguments, tap, labels, rng):
    """The loss and its gradients, on random features."""
    taps = {"teacher_tap": tap, "student_tap": tap} if tap != "logits" else {}
    loss = kind(**taps, **arguments)
    shapes = [(None, *shape) for shape in SHAPES[tap]]
    teacher_outputs, answer = (rng.standard_normal((BATCH, *shape[1:])) for shape in shapes)
    teacher, student = tf.constant(teacher_outputs, "float32"), tf.Variable(answer, dtype="float32")
    projector = loss.make_projector(*shapes)
    trained = [student]
    if projector is not None:
        projector.build(shapes[1])
        trained += [variable.value for variable in projector.trainable_variables]

    @tf.function
    def alone():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss.compare(projector, teacher, student, labels))
        return value, tape.gradient(value, trained)

    alone()
    return alone


def timed(function, repeats):
    """Seconds for one call, over some calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def report(done):
    rows = [
        [
            f"`{name}`",
            mean_sd(done.values("milliseconds", loss=name)),
            mean_sd(done.values("share", loss=name), scale=100, digits=1),
            mean_sd(done.values("share_beside_student", loss=name), scale=100, digits=1),
        ]
        for name in SHELF
        if done.where(loss=name)
    ]
    return table(["loss", "ms", "% of the step", "% of a step without the teacher's forward"], rows)


if __name__ == "__main__":
    for name in SHELF:
        keras.backend.clear_session()
        measured = {key: round(value, 3) for key, value in run({"loss": name}, 0, False).items()}
        print(name, measured, flush=True)
