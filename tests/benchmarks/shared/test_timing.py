"""Functions that are timed in turns."""

import pytest

from benchmarks.shared.timing import seconds_by_block, seconds_in_turns


def test_blocks_without_the_first():
    calls = []
    times = seconds_by_block([lambda: calls.append("a"), lambda: calls.append("b")], 2, 3)
    assert times.shape == (2, 2)
    assert "".join(calls) == "aaabbb" * 3


@pytest.mark.parametrize("turns", [1, 4])
def test_every_function_runs_once_per_turn(turns):
    calls = {"a": [], "b": []}
    times = seconds_in_turns({name: calls[name].append for name in calls}, turns, 5)
    assert {name: values.shape for name, values in times.items()} == {"a": (turns,), "b": (turns,)}
    assert calls["a"] == calls["b"] == [5] * (turns + 1)
