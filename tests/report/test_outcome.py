"""The first line of a report."""

import dataclasses

import pytest

from keras_kd.report.outcome import describe_outcome
from tests.report import reports

COSTS = {"size": 1000, "latency_us": 10.0}


@pytest.mark.parametrize(
    ("accuracies", "costs", "outcome"),
    [
        (
            (0.95, 0.9467),
            {"size": 250, "latency_us": 4.0},
            "0.33 points less accurate (94.67 % vs. 95.00 %), 4.0× smaller and 2.5× faster.",
        ),
        ((0.9, 0.91), {"size": None}, "1.00 points more accurate (91.00 % vs. 90.00 %)"),
        ((0.9, 0.9), {"size": 2000}, "the same accuracy (90.00 %), 2.0× larger and 1.0× faster."),
        (
            (0.9, 0.9),
            {"size": None, "latency_us": None},
            "int8, compared with teacher on 1,000 samples: the same accuracy (90.00 %).",
        ),
    ],
)
def test_the_gain_or_the_loss_comes_first(accuracies, costs, outcome):
    teacher, student = (
        reports.entry(name, accuracy, **{**COSTS, **changes})
        for name, accuracy, changes in zip(
            ("teacher", "int8"), accuracies, ({}, costs), strict=True
        )
    )
    assert outcome in describe_outcome(reports.report(entries=(teacher, student)))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (0.025, "root mean squared error 25.0 % higher (0.025 vs. 0.02)"),
        (0.015, "root mean squared error 25.0 % lower (0.015 vs. 0.02)"),
        (0.02, "the same root mean squared error (0.02 vs. 0.02)"),
    ],
)
def test_a_regression_is_compared_by_its_error(error, outcome):
    report = reports.numbers()
    student = dataclasses.replace(report["int8"], rmse=error)
    assert outcome in describe_outcome(
        dataclasses.replace(report, entries=(report["teacher"], student))
    )


def test_a_teacher_without_errors_has_no_ratio():
    report = reports.numbers()
    teacher = dataclasses.replace(report["teacher"], rmse=0.0)
    changed = dataclasses.replace(report, entries=(teacher, report["int8"]))
    assert "root mean squared error (0.03457 vs. 0)" in describe_outcome(changed)
