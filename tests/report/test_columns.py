"""The cells of the table of models."""

from keras_kd.report.columns import COLUMNS
from tests.report import reports


def cells(name):
    report = reports.report()
    return {column.key: column.cell(report[name], report) for column in COLUMNS}


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
