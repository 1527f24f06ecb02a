"""The result of a search."""

import json

import pytest

from keras_kd.budget.compression import BudgetError
from tests.budget.fakes import compression, result


def test_the_table_has_the_chosen_file_first_then_the_front_and_the_teacher(tmp_path):
    lines = compression(tmp_path).table.splitlines()
    cells = "→ 2-00-int8.tflite 1.0 kB 10.0 µs 5,000 90.00 % 88.00 %"
    assert lines[2].split() == cells.split()
    assert [line.split()[0] for line in lines[3:]] == ["2-01-int8.tflite", "teacher,"]


def test_the_drop_is_that_on_the_test_data(tmp_path):
    assert compression(tmp_path).drop == pytest.approx(4)


def test_the_text_tells_whether_the_limits_hold(tmp_path):
    assert " is within 1.2 kB, a drop of 4 points." in repr(compression(tmp_path))
    assert " is NOT within " in repr(compression(tmp_path, met=False))


def test_a_notebook_shows_the_same_table(tmp_path):
    found = compression(tmp_path)
    ((caption, table),) = found.html_tables().items()
    assert caption in repr(found)
    assert table.rows[0][0] == "→ 2-00-int8.tflite"
    assert f'<td style="text-align: right">{table.rows[0][1]}</td>' in found._repr_html_()


def test_numbers_have_no_percentages(tmp_path):
    assert "0.9000" in compression(tmp_path, score_name="R²").table


def test_the_result_is_written_as_json(tmp_path):
    found = compression(tmp_path, chosen=compression(tmp_path).files[0])
    found.results.append(result(found.results[0].slot, float("-inf"), reason="too large"))
    values = found.as_dict(found.chosen.path.parent)
    assert json.loads(json.dumps(values, allow_nan=False))["trials"][2]["score"] is None
    assert values["chosen"]["path"] == "2-01-int8.tflite"
    assert values["trials"][0]["name"] == "0-00"
    assert values["trials"][0]["keras_score"] == 0.81


def test_the_error_has_the_result(tmp_path):
    error = BudgetError("too small", compression(tmp_path))
    assert error.compression.drop == pytest.approx(4)
