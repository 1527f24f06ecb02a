"""Two teachers that know five classes each make one student of ten, with labels and without.

MNIST and Fashion-MNIST: one teacher was only ever shown the classes 0 to 4, the other 5 to 9. The
student sees the first 20,000 images of all ten. The teachers were trained with label smoothing of
0.1, after which they are less sure of strangers: on held-out training images of MNIST (50,000 to
60,000) the larger of both teachers' centred logits is right on 97.4 %, without smoothing and with
half the epochs on 95.9 %. Such teachers doubt enough at a temperature of 1.
"""

import keras

import keras_kd as kd
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
    x, y = arrays(data, "train[:20000]")
    student = convolutional("student", (16, 32), 64, seed=seed)
    model, loss = student, sparse_loss()
    if method != "supervised":
        models = [
            kept(
                f"half_smoothed_{data}_{i}{'_quick' if quick else ''}",
                lambda i=i: teacher(data, i, quick),
            )
            for i in range(2)
        ]
        recorded = Recorded(models, x)
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
    return {"accuracy": accuracy(student, *arrays(data, "test"))}


def teacher(data, i, quick):
    x, y = arrays(data, "train[:40000]")
    own = (y // 5) == i
    model = convolutional(f"half_{i}", (16, 32), 128, classes=5, dropout=0.3, seed=1000 + i)
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
