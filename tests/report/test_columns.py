"""The cells of the table of models."""

from keras_kd.report.columns import columns_of
from tests.report import reports


def cells(name, report=None):
    report = report or reports.report()
    return {column.key: column.cell(report[name], report) for column in columns_of(report)}


def test_cells_are_formatted_numbers():
    assert cells("int8") == {
        "accuracy": "94.67 % ± 1.00",
        "difference": "−0.33",
        "agreement": "90.00 %",
        "divergence": "0.0568",
        "calibration_error": "1.23 %",
        "parameters": "25.0 k",
        "macs": "1.6 M",
        "size": "27.2 kB",
        "gzip_size": "21.0 kB",
        "latency_us": "18.3 µs",
        "p95_us": "1234 µs",
    }


def test_the_teacher_is_not_compared_with_itself():
    row = cells("teacher")
    assert [key for key, cell in row.items() if not cell] == [
        "difference",
        "agreement",
        "divergence",
    ]


def test_missing_numbers_are_dashes():
    assert cells("no file")["size"] == cells("no file")["latency_us"] == "–"


def test_each_task_has_its_own_columns():
    costs = ["parameters", "macs", "size", "gzip_size", "latency_us", "p95_us"]
    binary = list(cells("int8", reports.report(task="binary")))
    assert binary[:4] == ["accuracy", "difference", "auc", "agreement"]
    labels = list(cells("int8", reports.report(task="labels")))
    assert labels == [*("accuracy", "difference", "exact_match", "agreement", "divergence"), *costs]
    numbers = cells("int8", reports.numbers())
    assert list(numbers) == [*("mae", "rmse", "r2", "relative_difference"), *costs]
    assert numbers["mae"] == "1.235e+05"
    assert numbers["rmse"] == "0.03457"
    assert numbers["r2"] == "0.9877"
    assert cells("teacher", reports.numbers())["relative_difference"] == ""
