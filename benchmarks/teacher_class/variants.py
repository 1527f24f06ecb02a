"""What the options of a class do: what is mimicked, how it is cut, adversarial mimicry, the loss.

Fashion-MNIST, the authors' teacher, 4 students of ours, mimicry alone (no labels) on 12,000 images
for 6 epochs.
"""

import keras
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.teacher_class.fashion_mnist import PROBLEM
from benchmarks.teacher_class.networks import blocks
from benchmarks.teacher_class.problem import LAYER, Record, mimic, samples, score

WIDTHS = ((10, 2), (20, 2), (28, 1), (32, 2))
VARIANTS = {
    "output": ("the layer's output (default)", {}),
    "preactivation": ("`mimic='preactivation'`", {}),
    "correlated": ("`split='correlated'`", {}),
    "adversarial_0.1": ("adversarial, weight 0.1 (default)", {"adversarial_weight": 0.1}),
    "adversarial_1": ("adversarial, weight 1", {"adversarial_weight": 1.0}),
}


def plan(done, seeds, quick):
    variants = ("correlated", "adversarial_1") if quick else VARIANTS
    return [({"variant": variant}, seed) for variant in variants for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = samples(PROBLEM.data, f"train[:{256 if quick else 12_000}]")
    teacher, variant = PROBLEM.kept_teacher(quick), cell["variant"]
    mode = "preactivation" if variant == "preactivation" else "output"
    teacher_outputs = Record(x, representation(teacher, mode).predict(x, verbose=0), LAYER)
    arguments = dict(VARIANTS[variant][1])
    chunks = None
    if variant == "correlated":
        whole = kd.TeacherClass(teacher, LAYER, student, n=4, split="correlated", data=x[:2000])
        chunks = arguments["chunks"] = whole.chunks
    keras.utils.set_random_seed(seed)
    students = [student(64) for _ in range(4)]
    if variant.startswith("adversarial"):
        arguments["discriminators"] = [discriminator(64) for _ in range(4)]
        arguments["discriminator_optimizer"] = keras.optimizers.Adam(2e-4)
    settings = {"learning_rate": 1e-2, "epochs": 1 if quick else 6, "seed": seed}
    history = mimic(teacher_outputs, y, students, arguments=arguments, **settings).history
    model = kd.TeacherClass.assemble_from(teacher, LAYER, students, chunks, mimic=mode)
    test = samples(PROBLEM.data, f"test[:{500 if quick else 10_000}]")
    error = sum(history[f"student_{i}"][-1] for i in range(4)) / 4
    return {"accuracy": score(model, *test), "error": error}


def student(size):
    return blocks(WIDTHS, size)


def discriminator(size):
    parts = [layers.Dense(64), layers.LeakyReLU(), layers.Dense(64), layers.LeakyReLU()]
    return keras.Sequential([keras.Input((size,)), *parts, layers.Dense(1)])


def representation(teacher, mode):
    """What is mimicked: the teacher up to its layer, with or without the activation."""
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
    return table(["mimicry of", "test accuracy %", "mean squared error in training"], rows)
