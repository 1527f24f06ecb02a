"""Options of the Teacher-Class Network: what is mimicked, how it is split, adversarial mimicry.

Fashion-MNIST, the authors' teacher, 4 of our students, mimicry alone (no labels) on 12,000 images
for 6 epochs.
"""

import keras
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import RecordedTeachers
from benchmarks.teacher_class.data import load_samples
from benchmarks.teacher_class.fashion_mnist import PROBLEM
from benchmarks.teacher_class.networks import build_student
from benchmarks.teacher_class.problem import LAYER, mimic, score

WIDTHS = ((10, 2), (20, 2), (28, 1), (32, 2))
VARIANTS = {
    "output": ("the layer's output", {}),
    "preactivation": ("`mimic='preactivation'` (default)", {}),
    "correlated": ("`split='correlated'`", {}),
    "adversarial_0.1": ("adversarial, weight 0.1 (default)", {"adversarial_weight": 0.1}),
    "adversarial_1": ("adversarial, weight 1", {"adversarial_weight": 1.0}),
}


def plan(done, seeds, quick):
    variants = ("correlated", "adversarial_1") if quick else VARIANTS
    return [({"variant": variant}, seed) for variant in variants for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = load_samples(PROBLEM.data, f"train[:{256 if quick else 12_000}]")
    teacher, variant = PROBLEM.load_teacher(quick), cell["variant"]
    mode = "preactivation" if variant == "preactivation" else "output"
    recorded = RecordedTeachers(build_representation(teacher, mode), x, (LAYER,), batch_size=32)
    arguments = dict(VARIANTS[variant][1])
    chunks = None
    if variant == "correlated":
        whole = kd.TeacherClass(
            teacher,
            LAYER,
            build_chunk_student,
            n=4,
            split="correlated",
            data=x[:2000],
            mimic=mode,
        )
        chunks = arguments["chunks"] = whole.chunks
    keras.utils.set_random_seed(seed)
    students = [build_chunk_student(64) for _ in range(4)]
    if variant.startswith("adversarial"):
        arguments["discriminators"] = [build_discriminator(64) for _ in range(4)]
        arguments["discriminator_optimizer"] = keras.optimizers.Adam(2e-4)
    settings = {"learning_rate": 1e-2, "epochs": 1 if quick else 6, "seed": seed}
    history = mimic(recorded, x, y, students, arguments, **settings).history
    model = kd.TeacherClass.assemble_from(teacher, LAYER, students, chunks, mimic=mode)
    test = load_samples(PROBLEM.data, f"test[:{500 if quick else 10_000}]")
    error = sum(history[f"student_{i}"][-1] for i in range(4)) / 4
    return {"accuracy": score(model, *test), "error": error}


def build_chunk_student(size):
    return build_student(WIDTHS, size)


def build_discriminator(size):
    parts = [layers.Dense(64), layers.LeakyReLU(), layers.Dense(64), layers.LeakyReLU()]
    return keras.Sequential([keras.Input((size,)), *parts, layers.Dense(1)])


def build_representation(teacher, mode):
    """Return the teacher up to its layer, with or without the activation."""
    cut = keras.Model(teacher.inputs, teacher.get_layer(LAYER).output)
    copy = keras.models.clone_model(cut)
    copy.set_weights(cut.get_weights())
    if mode == "preactivation":
        copy.get_layer(LAYER).activation = keras.activations.linear
    return copy


def report(done):
    rows = [
        [
            title,
            *(mean_sd(done.values(m, variant=v), s) for m, s in (("accuracy", 100), ("error", 1))),
        ]
        for v, (title, _) in VARIANTS.items()
        if done.where(variant=v)
    ]
    return table(["variant", "test accuracy %", "mean squared error in training"], rows)
