"""Plan and table of the CIFAR-100 pairs."""

from benchmarks.gpu.cifar100 import METHODS, plan, report
from benchmarks.runner.results import Done


def test_every_comparison_is_complete_before_the_next_begins():
    jobs = [
        (cell["pair"], cell["method"], seed) for cell, seed in plan({"vgg": 240, "resnet": 60}, 2)
    ]
    assert len(set(jobs)) == len(jobs)
    one = [
        *(("teacher", number) for number in range(3)),
        *((method, 0) for method in METHODS),
        *((method, 1) for method in METHODS),
    ]
    both = [(pair, *job) for pair in ("vgg", "resnet") for job in one]
    others = [(pair, f"kd_{i}", s) for pair in ("vgg", "resnet") for s in (0, 1) for i in (1, 2)]
    assert jobs[: len(both + others)] == both + others
    assert {seed for *_, seed in jobs[len(both + others) :]} == {2, 3, 4}


def test_cells_name_the_number_of_epochs():
    cells = [cell for cell, _ in plan({"vgg": 240, "resnet": 60}, 1)]
    assert {(cell["pair"], cell["epochs"]) for cell in cells} == {("vgg", 240), ("resnet", 60)}


def test_the_table_has_a_column_per_pair_and_the_best_teacher():
    occasion = {"device": "a card", "minutes": 9.0, "versions": {"jax": "1.0"}}
    about = {"occasions": [occasion], "data": "Data", "differences": ["one", "two"]}
    done = Done(about=about)
    for pair, base in (("vgg", 0.5), ("resnet", 0.6)):
        for seed in (0, 1):
            for i, method in enumerate(("kd", "kd_1", "kd_2")):
                cell = {"pair": pair, "method": method, "epochs": 60}
                done.add(cell, seed, {"accuracy": base + 0.01 * i + 0.02 * seed}, 1.0)
    text = report(done)
    assert "VGG13 → VGG8, 60 epochs | ResNet32x4 → ResNet8x4, 60 epochs" in text
    assert "| student, soft targets | 51.00 ± 1.41 | 61.00 ± 1.41 |" in text.replace("\u00a0", " ")
    best = "| student, soft targets, best of the single teachers | 53.00 ± 1.41 | 63.00 ± 1.41 |"
    assert best in text.replace("\u00a0", " ")
    assert "Data. a card (9 minutes): jax 1.0. Differences" in text
