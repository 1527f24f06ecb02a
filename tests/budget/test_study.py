"""Trainings in a study: each is run once, by whichever process, and survives kills."""

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from keras_kd.budget import study as study_module
from keras_kd.budget.schedule import Halving, Result
from keras_kd.budget.study import Study
from tests.budget.fakes import configs, result

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch):
    monkeypatch.setattr(study_module, "_POLL", 0.01)


def names(stages):
    return [r.slot.name for stage in stages for r in stage]


def start(folder, seconds):
    command = [sys.executable, "-m", "tests.budget.study_process", str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_all_trainings_are_run_in_order_and_kept(tmp_path):
    run = []

    def train(slot, trial):
        run.append(slot.name)
        return result(slot, len(run))

    stages = Study(tmp_path, "a").work(Halving(configs(6)), train)
    assert run == names(stages) == [f"0-{i:02}" for i in range(6)] + ["1-00", "1-01", "2-00"]
    again = Study(tmp_path, "a")
    assert again.work(Halving(configs(6)), None) == stages
    assert len(again.finished()) == 9
    assert again.finished()[0].values == {"params": {}, "seconds": 2.0}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_training_is_run_again(tmp_path, error):
    def fail(slot, trial):
        if slot.name == "0-02":
            raise error
        return result(slot)

    with pytest.raises(error):
        Study(tmp_path, "a").work(Halving(configs(6)), fail)
    again = []
    Study(tmp_path, "a").work(
        Halving(configs(6)), lambda slot, trial: again.append(slot.name) or result(slot)
    )
    assert again[0] == "0-02"
    assert len(again) == 7


def test_suggestions_depend_on_the_seed_of_the_slot_alone(tmp_path):
    def suggest(slot, trial):
        return result(slot, params={"width": trial.suggest_int("width", 1, 10**6)})

    one = Study(tmp_path, "a").work(Halving(configs(3)), suggest)
    other = Study(tmp_path, "b").work(Halving(configs(3)), suggest)
    assert [r.values for r in one[0]] == [r.values for r in other[0]]
    assert len({r.values["params"]["width"] for r in one[0]}) == 3


def test_of_a_training_that_is_added_twice_the_first_counts(tmp_path):
    study = Study(tmp_path, "a")
    slots = Halving(configs(2)).next([])
    study._add_missing(slots)
    for slot in slots:
        waiting = optuna.trial.TrialState.WAITING
        double = optuna.trial.create_trial(state=waiting, user_attrs={"slot": slot.as_dict()})
        study._study.add_trial(double)
    run = []
    study.work(Halving(configs(2)), lambda slot, trial: run.append(slot.name) or result(slot))
    assert run == ["0-00", "0-01", "1-00"]


def test_no_training_starts_after_the_time_is_over(tmp_path):
    stages = Study(tmp_path, "a").work(
        Halving(configs(3)), lambda slot, trial: result(slot), lambda slot: slot.name == "0-01"
    )
    assert stages == []
    assert [r.slot.name for r in Study(tmp_path, "a").finished()] == ["0-00", "0-02"]


def test_a_plan_is_made_once(tmp_path):
    assert Study(tmp_path, "a").plan(lambda: {"sizes": [1.5]}) == {"sizes": [1.5]}
    assert Study(tmp_path, "a").plan(None) == {"sizes": [1.5]}


def test_a_process_on_another_machine_is_dead_without_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "_PATIENCE", 0.05)
    study = Study(tmp_path, "a")
    (slot, *_) = slots = Halving(configs(1)).next([])
    study._add_missing(slots)
    study._claim(slots, "elsewhere", lambda slot: False)
    stages = study.work(Halving(configs(1)), lambda slot, trial: result(slot))
    assert names(stages) == [slot.name]


def test_a_failure_is_worse_than_any_score(tmp_path):
    def train(slot, trial):
        failed = slot.config.family == "f0"
        return Result(slot, float("-inf") if failed else 0.0, False, {"params": {}})

    stages = Study(tmp_path, "a").work(Halving(configs(2)), train)
    assert stages[-1][0].slot.config.family == "f1"


@pytest.mark.subprocess
@pytest.mark.slow
def test_two_processes_share_a_study_and_a_killed_one_loses_nothing(tmp_path):
    processes = [start(tmp_path, 0.2) for _ in range(2)]
    started = tmp_path / "started"
    while not started.exists() or len(started.read_text().split()) < 4:
        time.sleep(0.02)
    processes[0].kill()
    processes[0].wait()
    assert processes[1].wait(120) == 0
    run = started.read_text().split()
    # At most the training that was killed is run twice.
    assert len(run) - len(set(run)) <= 1
    assert len(set(run)) == 9 + 3 + 2
    counted = [
        trial.user_attrs["slot"]["name"]
        for trial in Study(tmp_path, "study")._study.trials
        if trial.state == optuna.trial.TrialState.COMPLETE
    ]
    assert sorted(counted) == sorted(set(run))
