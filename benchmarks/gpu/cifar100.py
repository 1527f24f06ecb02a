"""Plan and tables of the CIFAR-100 pairs; `run.py` runs them.

The recipe is that of RepDistiller: random crops and flips, SGD with momentum 0.9, a learning rate
that drops after 150, 180 and 210 of 240 epochs. No setting is chosen on test images, and the last
epoch counts. All students of one seed start with the same weights and see the same batches and
views.
"""

import statistics

from benchmarks.runner.results import mean_sd, table

#: By method: title in the table, and the numbers of its teachers. The order is that of the runs.
METHODS = {
    "alone": ("alone", ()),
    "kd": ("soft targets", (0,)),
    "average": ("soft targets, average of three teachers", (0, 1, 2)),
    "screened": ("soft targets, three teachers, `Screening(keep=2)`", (0, 1, 2)),
    "default": ("defaults of `kd.Distiller`", (0,)),
    "dkd": ("`DecoupledKD`", (0,)),
    "dist": ("`DIST`", (0,)),
}
#: The other single teachers: the method whose program they run, and the teacher.
OTHER_TEACHERS = {"kd_1": ("kd", 1), "kd_2": ("kd", 2)}
TEACHERS = 3
#: Seeds beyond those that were asked for, while there is time.
MORE_SEEDS = 5
TITLES = {"vgg": ("VGG13", "VGG8"), "resnet": ("ResNet32x4", "ResNet8x4")}


def plan(epochs, seeds):
    """Return the jobs `(cell, seed)` in order: complete comparisons first, then more of them.

    Args:
        epochs: Epochs by pair.
        seeds: Number of seeds.
    """

    def jobs(pair, methods, numbers):
        cells = [{"pair": pair, "method": method, "epochs": epochs[pair]} for method in methods]
        return [(cell, number) for number in numbers for cell in cells]

    planned = []
    for pair in epochs:
        planned += jobs(pair, ["teacher"], range(TEACHERS))
        planned += jobs(pair, METHODS, range(seeds))
    for pair in epochs:
        planned += jobs(pair, OTHER_TEACHERS, range(seeds))
    for seed in range(seeds, max(seeds, MORE_SEEDS)):
        for pair in epochs:
            planned += jobs(pair, METHODS, [seed])
    return planned


def program_of(method):
    """Return the method whose compiled program a method runs, and the numbers of its teachers."""
    if method in OTHER_TEACHERS:
        name, teacher = OTHER_TEACHERS[method]
        return name, (teacher,)
    return method, METHODS[method][1]


def report(done):
    """Return the table of test accuracies, one column for each pair and number of epochs."""
    columns = []
    for run in done.runs:
        column = (run["cell"]["pair"], run["cell"]["epochs"])
        if column not in columns and column[0] in TITLES:
            columns.append(column)
    if not columns:
        return ""
    header = ["test accuracy %"]
    header += [f"{' → '.join(TITLES[pair])}, {epochs} epochs" for pair, epochs in columns]
    rows = [["teachers", *(_accuracies(done, column, "teacher") for column in columns)]]
    for method, (title, _) in METHODS.items():
        rows.append([f"student, {title}", *(_accuracies(done, c, method) for c in columns)])
        if method == "kd":
            best = [_best(done, column) for column in columns]
            rows.append([f"student, {title}, best of the single teachers", *best])
    return f"{table(header, rows)}\n\n{_measured(done)}"


def _accuracies(done, column, method):
    pair, epochs = column
    values = done.values("accuracy", pair=pair, epochs=epochs, method=method)
    return mean_sd(values, 100) if values else ""


def _best(done, column):
    """Return the accuracies with the teacher whose students are the best on average."""
    pair, epochs = column
    found = [
        done.values("accuracy", pair=pair, epochs=epochs, method=method)
        for method in ("kd", *OTHER_TEACHERS)
    ]
    if not all(found):
        return ""
    return mean_sd(max(found, key=statistics.mean), 100)


def _measured(done):
    machines = []
    for occasion in done.about["occasions"]:
        versions = ", ".join(f"{name} {v}" for name, v in occasion["versions"].items())
        text = f"{occasion['device']} ({occasion['minutes']:.0f} minutes): {versions}"
        machines.append(text)
    differences = "; ".join(done.about["differences"])
    return (
        f"{done.about['data']}. {'. '.join(machines)}. "
        f"Differences from the recipe of the papers: {differences}."
    )
