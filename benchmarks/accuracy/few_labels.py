"""Few labels and many images: what distillation makes of the images that have none.

10,000 images of MNIST and of Fashion-MNIST, of which the first 100, 500 or 2,000 have a label. All
methods train the same student for the same number of steps of 128 images; a batch for those that
use everything has 32 labelled and 96 unlabelled images (`kd.mix_unlabeled`). Two teachers: one that
saw 50,000 labels elsewhere (the usual case: someone else's model), and one that saw only the labels
that the student has. The learning rate is chosen for each data set and method at 500 labels, for
plain training at 5,000 too, on 5,000 images that nobody trains on; everything else are defaults.
Then plain training gets more and more labels, to see how many it needs.
"""

import math
import statistics

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.accuracy.against_keras_distillation import teacher as fashion_teacher
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    Recorded,
    accuracy,
    arrays,
    compile_and_fit,
    convolutional,
    kept,
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
    "kd_labelled": "KD on the labelled part",
    "kd_all": "KD on everything",
    "kd_all_own": "KD on everything, teacher of the same few labels",
    "mean_teacher": "no teacher: running average, augmented, everything",
}


def plan(done, seeds, quick):
    data, labels = (DATA[:1], LABELS[1:2]) if quick else (DATA, LABELS)
    more, rates, tried = ((), RATES[:1], (100,)) if quick else (MORE_LABELS, RATES, (100, 101))
    methods = ("plain_augmented", "kd_all", "mean_teacher") if quick else METHODS
    jobs = [({"stage": "teacher", "data": d, "labels": n}, 0) for d in data for n in (0, *labels)]
    if not all(job in done for job in jobs):
        return jobs  # The teachers first: all others learn from them.
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
        return {"accuracy": accuracy(teacher(data, labels, quick), *arrays(data, "test"))}
    student = convolutional("student", (8, 16), 32, seed=seed)
    model, train = prepared(cell["method"], student, data, labels, seed, quick)
    steps = 2 * EPOCHS if quick else STEPS
    schedule = keras.optimizers.schedules.CosineDecay(cell["rate"], steps)
    model.compile(
        keras.optimizers.Adam(schedule), sparse_loss(), steps_per_execution=2 if quick else 20
    )
    model.fit(train, steps_per_epoch=steps // EPOCHS, epochs=EPOCHS, verbose=0)
    held_out = arrays(data, "train[55000:]" if cell["stage"] == "tune" else "test")
    return {"accuracy": accuracy(student, *held_out)}


def prepared(method, student, data, labels, seed, quick):
    """What trains the student, and on which batches."""
    x, y = arrays(data, f"train[:{max(POOL, labels)}]")
    keras.utils.set_random_seed(seed)
    if method.startswith("kd"):
        saw = labels if method == "kd_all_own" else 0
        shown = x[:labels] if method == "kd_labelled" else x
        recorded = Recorded(teacher(data, saw, quick), shown)
        inputs = recorded.inputs(shown)
        some = {name: values[:labels] for name, values in inputs.items()}
        distiller = kd.Distiller(recorded.student(student), recorded.teacher)
        if method == "kd_labelled":
            return distiller, batches(some, y[:labels], seed)
        return distiller, mixed(some, y[:labels], inputs, seed)
    if method == "mean_teacher":
        distiller = kd.SelfDistiller(student, decay=0.99, start=1, augment=shifts(seed))
        return distiller, mixed(x[:labels], y[:labels], x, seed)
    augment = shifts(seed) if method == "plain_augmented" else None
    plain = kd.Distiller(student, [], [], student_loss_weight=1.0, augment=augment)
    return plain, batches(x[:labels], y[:labels], seed)


def batches(x, y, seed, size=BATCH):
    """Endless batches, each pass in an order of its own."""
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data.shuffle(len(y), seed=seed).repeat().batch(size).prefetch(2)


def mixed(x, y, everything, seed):
    count = len(next(iter(everything.values())) if isinstance(everything, dict) else everything)
    others = batches(everything, np.zeros(count), seed, 3 * BATCH // 4)
    return kd.mix_unlabeled(batches(x, y, seed, BATCH // 4), others, ratio=3)


def shifts(seed):
    """Up to three pixels in each direction."""
    return layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=seed)


def teacher(data, labels, quick):
    """2.4 M parameters, trained on so many labelled images; 0 for 50,000."""
    if data == "fashion_mnist" and not labels:
        return fashion_teacher(quick)  # The very same.
    count = 512 if quick else labels or 50_000
    epochs = 1 if quick else math.ceil(20_000 / labels) if labels else 6

    def make():
        model = convolutional("teacher", (32, 64), 760, dropout=0.4, seed=1000)
        x, y = arrays(data, f"train[:{count}]")
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs)
        return model

    return kept(f"few_labels_{data}_{labels}{'_quick' if quick else ''}", make)


def labels_needed(done, data, wanted):
    """Labels with which plain training reaches an accuracy; `None` if it never does.

    Between the sizes that were tried it is taken to rise in a line over the logarithm.
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
        if means[i - 1] < wanted <= means[i]:
            part = (wanted - means[i - 1]) / (means[i] - means[i - 1])
            return round(sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** part, -2)
    return None


def report(done):
    parts = []
    for data in DATA:
        rows = [row for n in LABELS if (row := _row(done, data, n))]
        if rows:
            header = [f"{data}, test accuracy %", *METHODS.values(), "that teacher"]
            parts.append(table(header, rows))
            parts.append(_saved(done, data))
    return "\n\n".join(filter(None, parts))


def _row(done, data, labels):
    where = {"stage": "test", "data": data, "labels": labels}
    values = [done.values("accuracy", method=method, **where) for method in METHODS]
    own = done.values("accuracy", stage="teacher", data=data, labels=labels)
    if not any(values):
        return None
    cells = [mean_sd(found, 100) if found else "" for found in values]
    return [f"{labels:,} labels", *cells, mean_sd(own, 100) if own else ""]


def _saved(done, data):
    """What the teacher reaches, and how many labels plain training needs to come as far."""
    where = {"stage": "test", "data": data}
    everything = done.values("accuracy", method="kd_all", labels=500, **where)
    other = done.values("accuracy", stage="teacher", data=data, labels=0)
    if not everything or not other:
        return ""
    curve = [
        f"{mean_sd(values, 100)} with {n:,}"
        for n in (*LABELS, *MORE_LABELS)
        if (values := done.values("accuracy", method="plain", labels=n, **where))
    ]
    wanted = statistics.mean(everything)
    needed = labels_needed(done, data, wanted)
    reached = f"about {needed:,.0f} labels" if needed else "more labels than were tried"
    return (
        f"On {data} the teacher that saw 50,000 labels has {100 * other[0]:.2f} %. Plain training "
        f"reaches {', '.join(curve)} labels. What KD on everything reaches with 500, "
        f"{100 * wanted:.2f} %, takes plain training {reached}."
    )
