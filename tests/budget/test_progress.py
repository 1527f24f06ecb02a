"""The lines that a search prints."""

import pytest

from keras_kd.budget.progress import Progress, describe_config, format_seconds, remaining_seconds
from keras_kd.budget.schedule import Halving
from tests.budget.fakes import config, configs, file, result


def test_a_line_has_the_training_its_score_the_best_file_and_the_time_left(capsys):
    schedule = Halving(configs(12))
    slots = schedule.next([])
    first = result(slots[0], 0.75)
    Progress(1).report(first, [first], schedule, file())
    assert capsys.readouterr().out == (
        "trial 0-00 | f0, DIST, rate 0.01 | 0.7500 | 2 s | best 0.9000 in 2-00-int8.tflite, "
        "1.0 kB | about 2 min left\n"
    )
    left = result(slots[1], float("-inf"), reason="too large")
    Progress(1).report(left, [left], schedule, None)
    assert "| not trained: too large |" in capsys.readouterr().out
    Progress(0).say("nothing")
    assert capsys.readouterr().out == ""


def test_the_time_left_is_that_of_the_parts_left():
    schedule = Halving(configs(12))
    results = [result(slot, seconds=10.0) for slot in schedule.next([])]
    assert remaining_seconds(results[:6], schedule) == pytest.approx(120 * 3.5)
    assert remaining_seconds([], schedule) is None


def test_a_builder_is_shown_with_its_suggestions():
    assert describe_config(config(), {"params": {"width": 3}}) == "a (width=3), DIST, rate 0.01"
    assert [format_seconds(s) for s in (3.2, 600)] == ["3 s", "10 min"]
