"""Student of ten classes from two teachers of five classes each, with and without labels.

MNIST and Fashion-MNIST: one teacher was trained on the classes 0 to 4 only, the other on 5 to 9.
The student gets the first 20,000 images of all ten. The teachers were trained with label smoothing
of 0.1, which lowers their confidence on unknown classes: on MNIST training images that were held
out (50,000 to 60,000), the larger of both teachers' centered logits is correct for 97.4 %, and for
95.9 % without smoothing and with half the epochs. Their outputs are soft enough at a
temperature of 1.
"""

import keras

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
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
HALVES = ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
METHODS = {
    "supervised": "labels alone, no teacher",
    "labels": 'labels and both teachers, `combine="losses"`',
    "none": 'both teachers, no label, `combine="logits"`',
}


def plan(done, seeds, quick):
    cells = [
        {"data": data, "method": method}
        for data in (DATA[:1] if quick else DATA)
        for method in METHODS
    ]
    return [(cell, seed) for cell in cells for seed in range(seeds)]


def run(cell, seed, quick):
    data, method = cell["data"], cell["method"]
    x, y = load_arrays(data, "train[:20000]")
    student = build_cnn("student", (16, 32), 64, seed=seed)
    model, loss = student, sparse_loss()
    if method != "supervised":
        models = [
            load_or_train(
                f"half_smoothed_{data}_{i}{'_quick' if quick else ''}",
                lambda i=i: train_teacher(data, i, quick),
            )
            for i in range(2)
        ]
        recorded = RecordedTeachers(models, x)
        pairs = zip(recorded.models, HALVES, strict=True)
        teachers = [kd.Teacher(m, classes=half, outputs="logits") for m, half in pairs]
        combine = "losses" if method == "labels" else "logits"
        model = kd.Distiller(
            recorded.student(student), teachers, kd.losses.SoftTargets(1.0), combine=combine
        )
        x = recorded.inputs(x)
        loss = loss if method == "labels" else None
    epochs = 1 if quick else 10
    compile_and_fit(model, x, y, loss=loss, learning_rate=2e-3, epochs=epochs, seed=seed)
    return {"accuracy": accuracy(student, *load_arrays(data, "test"))}


def train_teacher(data, i, quick):
    x, y = load_arrays(data, "train[:40000]")
    own = (y // 5) == i
    model = build_cnn(f"half_{i}", (16, 32), 128, classes=5, dropout=0.3, seed=1000 + i)
    epochs = 1 if quick else 10
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    one_hot = keras.utils.to_categorical(y[own] % 5, 5)
    compile_and_fit(model, x[own], one_hot, loss=loss, learning_rate=2e-3, epochs=epochs)
    return model


def report(done):
    rows = []
    for method, title in METHODS.items():
        values = [done.values("accuracy", data=data, method=method) for data in DATA]
        rows.append([title, *(mean_sd(v, 100) if v else "" for v in values)])
    return table(["test accuracy %", "MNIST", "Fashion-MNIST"], rows)
