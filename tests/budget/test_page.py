"""The report page of a search."""

import re
from dataclasses import replace

from keras_kd.budget.limits import Limits
from keras_kd.budget.page import render_page, write_page
from tests.budget.fakes import compression, result


def test_the_page_shows_files_limits_trainings_and_notes(tmp_path):
    found = compression(tmp_path)
    write_page(found, ["cat", "dog"])
    page = found.report.read_text()
    assert page.count('class="limit"') == 3  # The size in one chart, the drop in both.
    assert page.count(">chosen</text>") == 2
    assert re.findall(r'<th scope="row" class="m\d"><i></i>([^<]+)', page) == [
        *("2-01-int8.tflite", "2-00-int8.tflite", "teacher, as float32 file")
    ]
    assert re.findall(r'<th scope="row">([^<]+)', page) == ["0-00", "2-00"]
    assert "2-00 as float16: &lt;reason&gt;" in page
    assert "cat, dog" in page
    assert "int8 costs 1.00 points" in page


def test_the_page_tells_if_a_limit_does_not_hold(tmp_path):
    page = render_page(compression(tmp_path, met=False, interrupted=True))
    assert "is nearest to, and not within, 1.2 kB" in page
    assert "Raise a limit" in page
    assert "The search was interrupted" in page


def test_numbers_are_not_percentages_and_a_training_may_have_been_left_out(tmp_path):
    found = compression(tmp_path, score_name="R²", limits=Limits(max_latency_us=20))
    left = result(found.results[0].slot, float("-inf"), reason="too large")
    del left.values["seconds"]
    page = render_page(replace(found, results=[left]))
    assert page.count('class="limit"') == 1
    assert "<td>too large</td>" in page
    assert "0.9000" in page


def test_a_teacher_within_the_limits_leaves_nothing_to_train(tmp_path):
    teacher = {**compression(tmp_path).teacher, "test_score": 0.88}
    page = render_page(compression(tmp_path, results=[], teacher=teacher))
    assert "the teacher itself is within it" not in page  # int8 costs a point.
    assert "<h2>Trainings</h2>" not in page
