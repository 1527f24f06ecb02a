"""Weightings of four teachers of different quality, two of them bad.

Fashion-MNIST and the CIFAR-10 subset. Teacher 0 is good; teacher 1 is smaller; teacher 2 was
trained with 20 % wrong labels; teacher 3 on six of the ten classes only. The student has 3,000
labeled images that the teachers were not trained on. Same budget for every method, test accuracy
after the last epoch.
"""

import numpy as np

import keras_kd as kd
from benchmarks.runner.results import mean_sd, save_chart, table
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

DATA = ("fashion_mnist", "cifar10")
STUDENT_IMAGES = {"fashion_mnist": "train[40000:43000]", "cifar10": "train[15000:18000]"}
VALIDATION = {"fashion_mnist": "train[50000:52000]", "cifar10": "train[18000:20000]"}
W = kd.weighting
METHODS = {
    "alone": "student alone",
    "single": "best single teacher",
    "uniform": "average",
    "cross_entropy": "`CrossEntropy()`",
    "screening": "`Screening(keep=2)`",
    "screening_3": "`Screening(keep=3)`",
    "screened_first": "`screen_teachers(keep=2)`, then the average",
}
HINTED = tuple(METHODS)[1:]


def plan(done, seeds, quick):
    cells = [
        {"data": data, "method": method, "hints": hints}
        for data in (DATA[:1] if quick else DATA)
        for method in (("screening", "screened_first") if quick else METHODS)
        for hints in ((False, True)[quick:] if method in HINTED else (False,))
    ]
    return [(cell, seed) for cell in cells for seed in range(seeds)]


def run(cell, seed, quick):
    data = cell["data"]
    x, y = load_arrays(data, STUDENT_IMAGES[data])
    ensemble = load_teachers(data, quick)
    used = ensemble[:1] if cell["method"] == "single" else ensemble
    if cell["method"] == "screened_first":
        used = select_teachers(ensemble, data)
    student = build_student(data, seed)
    model, metrics = student, {}
    if cell["method"] != "alone":
        taps = ("logits", "features") if cell["hints"] else ("logits",)
        recorded = RecordedTeachers(used, x, taps)
        losses = [kd.losses.SoftTargets(teacher_tap="logits" if cell["hints"] else None)]
        if cell["hints"]:
            losses.append(kd.losses.Hint("features", "student/features", weight=0.1))
        weighting = {
            "cross_entropy": W.CrossEntropy(),
            "screening": W.Screening(keep=2),
            "screening_3": W.Screening(keep=3),
        }
        weighting = weighting.get(cell["method"])
        model = kd.Distiller(
            recorded.student(student), recorded.teachers, losses, weighting=weighting
        )
        logits = np.stack([recorded.records[f"teacher_{i}_logits"] for i in range(len(used))])
        weights = np.asarray((weighting or W.Uniform())(logits, y))
        by_class = [weights[:, y == label].mean(axis=1) for label in range(10)]
        metrics = {
            **{f"weight_{i}": float(weight) for i, weight in enumerate(weights.mean(axis=1))},
            "weights_by_class": np.transpose(by_class).round(4).tolist(),
        }
        x = recorded.inputs(x)
    epochs = 1 if quick else 40
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=5e-3, epochs=epochs, seed=seed)
    return {"accuracy": accuracy(student, *load_arrays(data, "test")), **metrics}


def build_student(data, seed):
    if data == "fashion_mnist":
        return build_cnn("student", (8, 16), 32, seed=seed)
    return build_cnn("student", (8, 16, 32), 32, (32, 32, 3), seed=seed)


def select_teachers(ensemble, data):
    """Return the two best teachers on images that no model is trained on."""
    x, y = load_arrays(data, VALIDATION[data])
    report = kd.screen_teachers(ensemble, [(x, y)], keep=2, print_fn=None)
    return [teacher.model for teacher in report.teachers]


def load_teachers(data, quick):
    """Return the four teachers, the best first; trained once and kept on disk."""
    return [
        load_or_train(
            f"committee_{data}_{i}{'_quick' if quick else ''}",
            lambda i=i: train_teacher(data, i, quick),
        )
        for i in range(4)
    ]


def train_teacher(data, i, quick):
    shape = (28, 28, 1) if data == "fashion_mnist" else (32, 32, 3)
    filters = ((16, 32), (8, 16), (16, 32), (16, 32))[i]
    x, y = load_arrays(data, "train[:15000]")
    rng = np.random.default_rng(i)
    if i == 2:
        wrong = rng.random(len(y)) < 0.2
        y = np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y)
    if i == 3:
        x, y = x[y < 6], y[y < 6]
    model = build_cnn(f"teacher_{i}", filters, 128, shape, dropout=0.3, seed=1000 + i)
    epochs = 1 if quick else 10
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=2e-3, epochs=epochs)
    return model


def report(done):
    rows = []
    for method, title in METHODS.items():
        row = [title]
        for data in DATA:
            for hints in (False, True):
                values = done.values("accuracy", data=data, method=method, hints=hints)
                row.append(mean_sd(values, 100) if values else "")
        rows.append(row)
    header = ["test accuracy %"]
    header += [f"{data}{h}" for data in DATA for h in ("", ", with hints")]
    weights = [
        ["weight of teacher", "0 (good)", "1 (small)", "2 (wrong labels)", "3 (six classes)"]
    ]
    for method in ("uniform", "cross_entropy", "screening", "screening_3"):
        for data in DATA:
            runs = done.where(data=data, method=method, hints=False)
            if runs:
                own = [f"{runs[0]['metrics'][f'weight_{i}']:.3f}" for i in range(4)]
                weights.append([f"{METHODS[method]}, {data}", *own])
    return table(header, rows) + "\n\n" + table(weights[0], weights[1:])


def chart(done, path):
    """Draw the mean weight of each teacher by class."""
    from matplotlib import pyplot

    methods = ("cross_entropy", "screening_3", "screening")
    figure, axes = pyplot.subplots(
        len(DATA), len(methods), figsize=(11, 4.2), squeeze=False, layout="constrained"
    )
    for row, data in zip(axes, DATA, strict=True):
        for axis, method in zip(row, methods, strict=True):
            runs = done.where(data=data, method=method, hints=False)
            if not runs:
                return
            weights = runs[0]["metrics"]["weights_by_class"]
            picture = axis.imshow(weights, vmin=0, vmax=0.6, cmap="viridis", aspect="auto")
            axis.set_title(f"{data}: {METHODS[method].strip('`')}", fontsize=10)
            axis.set_yticks(range(4), ["good", "small", "wrong labels", "six classes"], fontsize=8)
            axis.set_xticks(range(10), range(10), fontsize=8)
            axis.set_xlabel("class", fontsize=8)
    figure.colorbar(picture, ax=axes, label="mean weight", shrink=0.8)
    save_chart(figure, path)
