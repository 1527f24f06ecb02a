"""Accuracy with few labels and many unlabeled images.

10,000 images of MNIST and of Fashion-MNIST, of which the first 100, 500 or 2,000 have a label. All
methods train the same student for the same number of steps of 128 images; methods that use all
images have 32 labeled and 96 unlabeled ones in a batch (`kd.mix_unlabeled`). Two teachers: one
trained on 50,000 other labeled images (the usual case: a model from elsewhere), and one trained
only on the labels that the student has. The learning rate is chosen for each data set and method at
500 labels, for plain training also at 5,000, on 5,000 validation images; all other settings are
defaults. Plain training then gets more and more labels, to find how many it needs.
"""

import math
import statistics

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared import fashion_mnist
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

DATA = ("mnist", "fashion_mnist")
LABELS = (100, 500, 2000)
MORE_LABELS = (5000, 10000, 20000)
POOL, STEPS, EPOCHS, BATCH = 10_000, 1_000, 10, 128
RATES = (3e-3, 1e-2)
METHODS = {
    "plain": "plain",
    "plain_augmented": "plain, augmented",
    "kd_labelled": "KD on the labeled images",
    "kd_all": "KD on all images",
    "kd_all_own": "KD on all images, teacher from the same few labels",
    "mean_teacher": "no teacher: running average, augmented, all images",
}


def plan(done, seeds, quick):
    data, labels = (DATA[:1], LABELS[1:2]) if quick else (DATA, LABELS)
    more, rates, tried = ((), RATES[:1], (100,)) if quick else (MORE_LABELS, RATES, (100, 101))
    methods = ("plain_augmented", "kd_all", "mean_teacher") if quick else METHODS
    jobs = [({"stage": "teacher", "data": d, "labels": n}, 0) for d in data for n in (0, *labels)]
    if not all(job in done for job in jobs):
        return jobs  # The students need the teachers.
    for name in data:
        for method in methods:
            for at in (500, 5000) if method == "plain" and not quick else (500,):
                where = {"stage": "tune", "data": name, "method": method, "labels": at}
                tuning = [({**where, "rate": r}, seed) for r in rates for seed in tried]
                jobs += tuning
                if all(job in done for job in tuning):
                    rate = done.best("accuracy", ("rate",), **where)["rate"]
                    sizes = labels if at == 500 else more
                    cells = [{**where, "stage": "test", "labels": n, "rate": rate} for n in sizes]
                    jobs += [(cell, seed) for cell in cells for seed in range(seeds)]
    return jobs


def run(cell, seed, quick):
    data, labels = cell["data"], cell["labels"]
    if cell["stage"] == "teacher":
        return {"accuracy": accuracy(load_teacher(data, labels, quick), *load_arrays(data, "test"))}
    student = build_cnn("student", (8, 16), 32, seed=seed)
    model, train = prepare_training(cell["method"], student, data, labels, seed, quick)
    steps = 2 * EPOCHS if quick else STEPS
    schedule = keras.optimizers.schedules.CosineDecay(cell["rate"], steps)
    model.compile(
        keras.optimizers.Adam(schedule), sparse_loss(), steps_per_execution=2 if quick else 20
    )
    model.fit(train, steps_per_epoch=steps // EPOCHS, epochs=EPOCHS, verbose=0)
    held_out = load_arrays(data, "train[55000:]" if cell["stage"] == "tune" else "test")
    return {"accuracy": accuracy(student, *held_out)}


def prepare_training(method, student, data, labels, seed, quick):
    """Return the model that trains the student, and its batches."""
    x, y = load_arrays(data, f"train[:{max(POOL, labels)}]")
    keras.utils.set_random_seed(seed)
    if method.startswith("kd"):
        teacher = load_teacher(data, labels if method == "kd_all_own" else 0, quick)
        images = x[:labels] if method == "kd_labelled" else x
        recorded = RecordedTeachers(teacher, images)
        inputs = recorded.inputs(images)
        labeled = {name: values[:labels] for name, values in inputs.items()}
        distiller = kd.Distiller(
            recorded.student(student), recorded.teacher, kd.losses.SoftTargets()
        )
        if method == "kd_labelled":
            return distiller, repeat_batches(labeled, y[:labels], seed)
        return distiller, mix_batches(labeled, y[:labels], inputs, seed)
    if method == "mean_teacher":
        distiller = kd.SelfDistiller(student, decay=0.99, start=1, augment=random_shift(seed))
        return distiller, mix_batches(x[:labels], y[:labels], x, seed)
    augment = random_shift(seed) if method == "plain_augmented" else None
    plain = kd.Distiller(student, [], [], student_loss_weight=1.0, augment=augment)
    return plain, repeat_batches(x[:labels], y[:labels], seed)


def repeat_batches(x, y, seed, size=BATCH):
    """Return endless batches, shuffled again in each pass."""
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data.shuffle(len(y), seed=seed).repeat().batch(size).prefetch(2)


def mix_batches(x, y, all_inputs, seed):
    """Return batches of labeled samples followed by three times as many unlabeled ones."""
    count = len(keras.tree.flatten(all_inputs)[0])
    unlabeled = repeat_batches(all_inputs, np.zeros(count), seed, 3 * BATCH // 4)
    return kd.mix_unlabeled(repeat_batches(x, y, seed, BATCH // 4), unlabeled, ratio=3)


def random_shift(seed):
    """Return a layer that shifts by up to three pixels in each direction."""
    return layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=seed)


def load_teacher(data, labels, quick):
    """Return a teacher of 2.4 M parameters, trained on so many labeled images; 0 for 50,000."""
    if data == "fashion_mnist" and not labels:
        return fashion_mnist.load_teacher(quick)
    count = 512 if quick else labels or 50_000
    epochs = 1 if quick else math.ceil(20_000 / labels) if labels else 6

    def train():
        model = build_cnn("teacher", (32, 64), 760, dropout=0.4, seed=1000)
        x, y = load_arrays(data, f"train[:{count}]")
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs)
        return model

    return load_or_train(f"few_labels_{data}_{labels}{'_quick' if quick else ''}", train)


def labels_needed(done, data, target):
    """Return how many labels plain training needs for an accuracy, `None` if all are too few.

    Interpolates linearly over the logarithm of the number of labels.
    """
    sizes = [
        n
        for n in (*LABELS, *MORE_LABELS)
        if done.where(stage="test", data=data, method="plain", labels=n)
    ]
    means = [
        statistics.mean(done.values("accuracy", stage="test", data=data, method="plain", labels=n))
        for n in sizes
    ]
    for i in range(1, len(sizes)):
        if means[i - 1] < target <= means[i]:
            part = (target - means[i - 1]) / (means[i] - means[i - 1])
            return round(sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** part, -2)
    return None


def report(done):
    parts = []
    for data in DATA:
        rows = [row for n in LABELS if (row := _row(done, data, n))]
        if rows:
            header = [f"{data}, test accuracy %", *METHODS.values(), "teacher from the same labels"]
            parts.append(table(header, rows))
            parts.append(_labels_saved(done, data))
    return "\n\n".join(filter(None, parts))


def _row(done, data, labels):
    where = {"stage": "test", "data": data, "labels": labels}
    values = [done.values("accuracy", method=method, **where) for method in METHODS]
    own = done.values("accuracy", stage="teacher", data=data, labels=labels)
    if not any(values):
        return None
    cells = [mean_sd(v, 100) if v else "" for v in values]
    return [f"{labels:,} labels", *cells, mean_sd(own, 100) if own else ""]


def _labels_saved(done, data):
    """Return a sentence about the labels that plain training needs to equal distillation."""
    where = {"stage": "test", "data": data}
    distilled = done.values("accuracy", method="kd_all", labels=500, **where)
    teacher = done.values("accuracy", stage="teacher", data=data, labels=0)
    if not distilled or not teacher:
        return ""
    curve = [
        f"{mean_sd(values, 100)} with {n:,}"
        for n in (*LABELS, *MORE_LABELS)
        if (values := done.values("accuracy", method="plain", labels=n, **where))
    ]
    target = statistics.mean(distilled)
    needed = labels_needed(done, data, target)
    count = f"about {needed:,.0f} labels" if needed else "more labels than were measured"
    return (
        f"On {data} the teacher trained on 50,000 labels has {100 * teacher[0]:.2f} %. Plain "
        f"training reaches {', '.join(curve)} labels. KD on all images reaches "
        f"{100 * target:.2f} % with 500 labels; plain training needs {count} for that."
    )
