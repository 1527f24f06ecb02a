"""How the defaults of `kd.Distiller` were chosen: temperature and weight of the labels.

Fashion-MNIST, 5,000 labelled images, the teacher of `against_keras_distillation`. Every accuracy
is on 5,000 images of the training split that nobody trains on; the test split is not touched.
"""

import keras_kd as kd
from benchmarks.accuracy.against_keras_distillation import student_model, teacher
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import Recorded, accuracy, arrays, compile_and_fit, sparse_loss

TEMPERATURES = (1.0, 2.0, 4.0)
LABEL_WEIGHTS = (0.0, 0.1, 0.5, 1.0)
RATES = (1e-2,)


def plan(done, seeds, quick):
    grid = [(t, w, r) for t in TEMPERATURES for w in LABEL_WEIGHTS for r in RATES]
    cells = [
        {"temperature": t, "student_loss_weight": w, "learning_rate": r}
        for t, w, r in (grid[:1] if quick else grid)
    ]
    return [(cell, 200 + seed) for cell in cells for seed in range(min(seeds, 3))]


def run(cell, seed, quick):
    x, y = arrays("fashion_mnist", "train[:5000]")
    student = student_model(seed)
    recorded = Recorded(teacher(quick), x)
    loss = kd.losses.SoftTargets(cell["temperature"])
    weight = cell["student_loss_weight"]
    model = kd.Distiller(recorded.student(student), recorded.teacher, loss, weight)
    x = recorded.inputs(x)
    epochs = 1 if quick else 60
    rate = cell["learning_rate"]
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=rate, epochs=epochs, seed=seed)
    return {"accuracy": accuracy(student, *arrays("fashion_mnist", "train[50000:55000]"))}


def report(done):
    rows = []
    for temperature in TEMPERATURES:
        row = [f"T = {temperature:g}"]
        for weight in LABEL_WEIGHTS:
            own = {"temperature": temperature, "student_loss_weight": weight}
            if done.where(**own):
                best = done.best("accuracy", ("learning_rate",), **own)
                row.append(mean_sd(done.values("accuracy", **own, **best), 100))
        rows.append(row)
    header = ["validation accuracy %", *(f"label weight {w:g}" for w in LABEL_WEIGHTS)]
    return table(header, rows)
