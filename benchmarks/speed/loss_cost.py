"""Time of each loss compared with the rest of a distillation step.

A convolutional student of 50,000 parameters learns from a teacher of 1.2 million on batches of 128
images of 28×28. The rest of the step is a plain training step of the student and the teacher's
forward pass. The loss is timed alone, on given features: its values and the gradients for the
student's tap (and the projector, if there is one), minus the time of a call that computes almost
nothing (a real step has no such call). All take turns, block by block. The share is loss / (loss +
student's step + teacher's forward pass) within a block.
"""

import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.timing import seconds_by_block
from benchmarks.shared.training import build_cnn, sparse_loss

ALONE = True
BATCH = 128
#: Shapes of the teacher's and the student's tap.
SHAPES = {
    "logits": ((10,), (10,)),
    "numbers": ((10,), (10,)),
    "means and log-variances": ((20,), (10,)),
    "features": ((380,), (32,)),
    "block2": ((7, 7, 64), (7, 7, 32)),
}
#: Taps that are layers; the others are the output, which has no name.
LAYERS = ("features", "block2")
#: By name: the loss, its arguments, its tap.
LOSSES = {
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
    "taid": (kd.losses.TAID, {}, "logits"),
    "multi_temperature": (kd.losses.MultiTemperature, {}, "logits"),
    "wttm": (kd.losses.WTTM, {}, "logits"),
    "labels_first": (kd.losses.LabelsFirst, {}, "logits"),
    "bounded_regression": (kd.losses.BoundedRegression, {}, "numbers"),
    "attentive_imitation": (kd.losses.AttentiveImitation, {"error_range": 4.0}, "numbers"),
    "gaussian_targets": (kd.losses.GaussianTargets, {}, "means and log-variances"),
    "logit_standardization": (kd.losses.LogitStandardization, {}, "logits"),
    "hint, vectors": (kd.losses.Hint, {}, "features"),
    "hint, maps": (kd.losses.Hint, {}, "block2"),
    "attention_transfer": (kd.losses.AttentionTransfer, {}, "block2"),
    "channel_wise": (kd.losses.ChannelWise, {}, "block2"),
    "pearson_features": (kd.losses.PearsonFeatures, {}, "block2"),
    "masked_generation": (kd.losses.MaskedGeneration, {}, "block2"),
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
    names = list(LOSSES)[::8] if quick else LOSSES
    return [({"loss": name}, seed) for seed in range(seeds) for name in names]


def run(cell, seed, quick):
    """Return the milliseconds of a loss, and its share of a step."""
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.random((BATCH, 28, 28, 1)), "float32")
    y = tf.constant(rng.integers(0, 10, BATCH))
    loss = loss_function(*LOSSES[cell["loss"]], y, rng)
    functions = (loss, empty_function(rng), *step_functions(x, y, seed))
    times = seconds_by_block(functions, *((2, 2) if quick else (15, 20)))
    own, rest = times[:, 0] - times[:, 1], times[:, 2] + times[:, 3]
    return {
        "milliseconds": 1e3 * float(np.median(own)),
        "student_milliseconds": 1e3 * float(np.median(times[:, 2])),
        "teacher_milliseconds": 1e3 * float(np.median(times[:, 3])),
        "share": float(np.median(own / (own + rest))),
        "share_beside_student": float(np.median(own / (own + times[:, 2]))),
    }


def empty_function(rng):
    """Return a function that computes almost nothing."""
    value = tf.constant(rng.standard_normal(BATCH), "float32")
    return tf.function(lambda: tf.reduce_mean(value))


def step_functions(x, y, seed):
    """Return the student's training step on labels, and the teacher's forward pass."""
    student = build_cnn("student", (16, 32), 29, seed=seed)
    teacher = build_cnn("teacher", (32, 64), 380, seed=seed + 1)
    student.compile("adam", sparse_loss())
    step = tf.function(lambda: student.train_step((x, y)))
    forward = tf.function(lambda: teacher(x, training=False))
    return step, forward


def loss_function(kind, arguments, tap, labels, rng):
    """Return a function that computes a loss and its gradients on random features."""
    taps = {"teacher_tap": tap, "student_tap": tap} if tap in LAYERS else {}
    loss = kind(**taps, **arguments)
    shapes = [(None, *shape) for shape in SHAPES[tap]]
    features = [rng.standard_normal((BATCH, *shape[1:])) for shape in shapes]
    teacher, student = (
        tf.constant(features[0], "float32"),
        tf.Variable(features[1], dtype="float32"),
    )
    if tap == "numbers":
        labels = tf.constant(rng.standard_normal((BATCH, 10)), "float32")
    projector = loss.make_projector(*shapes)
    variables = [student]
    if projector is not None:
        projector.build(shapes[1])
        variables += [variable.value for variable in projector.trainable_variables]

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss.compare(projector, teacher, student, labels))
        return value, tape.gradient(value, variables)

    return compute


def report(done):
    rows = [
        [
            f"`{name}`",
            mean_sd(done.values("milliseconds", loss=name)),
            mean_sd(done.values("share", loss=name), scale=100, digits=1),
            mean_sd(done.values("share_beside_student", loss=name), scale=100, digits=1),
        ]
        for name in LOSSES
        if done.where(loss=name)
    ]
    header = ["loss", "ms", "% of the step", "% of a step without the teacher's forward pass"]
    return table(header, rows)
