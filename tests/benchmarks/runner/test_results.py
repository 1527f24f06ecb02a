"""Results are saved with one line per run, and found again by their cells."""

import json

import pytest

from benchmarks.runner.results import Done, mean_sd, measured_on, save_chart, table


def three_runs():
    done = Done(about={"benchmark": "name", "machine": "×"})
    for seed, accuracy in [(1, 0.5), (0, 0.7)]:
        done.add({"method": "kd", "rate": 0.1}, seed, {"accuracy": accuracy}, 1.23)
    done.add({"method": "kd", "rate": 0.2}, 0, {"accuracy": 0.65}, 1)
    return done


def test_saved_runs_are_loaded_again(tmp_path):
    path = tmp_path / "folder" / "name.json"
    done = three_runs()
    done.save(path)
    loaded = Done.load(path)
    assert (loaded.about, loaded.runs) == (done.about, done.runs)
    assert Done.load(tmp_path / "none.json").runs == []


def test_file_has_one_line_per_run(tmp_path):
    path = tmp_path / "name.json"
    done = three_runs()
    done.save(path)
    lines = path.read_text("utf-8").splitlines()
    start = lines.index(' "runs": [')
    assert lines[:start] == ["{", ' "benchmark": "name",', ' "machine": "×",']
    assert [json.loads(line.rstrip(",")) for line in lines[start + 1 : start + 4]] == done.runs
    assert lines[start + 4 :] == [" ]", "}"]


def test_file_without_runs_is_valid(tmp_path):
    Done().save(tmp_path / "name.json")
    assert json.loads((tmp_path / "name.json").read_text()) == {"runs": []}


def test_runs_are_found_by_cell_and_seed():
    done = three_runs()
    assert ({"rate": 0.1, "method": "kd"}, 0) in done
    assert ({"method": "kd", "rate": 0.1}, 2) not in done
    assert done.values("accuracy", rate=0.1) == [0.7, 0.5]
    assert done.best("accuracy", ("rate",), method="kd") == {"rate": 0.2}


def test_mean_shows_spread_or_single_run():
    assert mean_sd([0.5, 0.7], 100) == "60.00\u00a0±\u00a014.14"
    assert mean_sd([0.5], 100) == "50.00 (1\u00a0run)"


def test_table_is_markdown():
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_machine_is_named():
    done = Done(about={"machine": "a CPU", "versions": {"tensorflow": "2.20"}})
    assert measured_on(done) == "Measured on a CPU; TensorFlow 2.20."


def test_same_chart_gives_same_file(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")

    def draw(path):
        figure, axes = pyplot.subplots()
        axes.plot([1, 2], [3, 4])
        save_chart(figure, path)
        return path.read_bytes()

    (tmp_path / "again").mkdir()
    assert draw(tmp_path / "chart.svg") == draw(tmp_path / "again" / "chart.svg")
