"""Two replicas on two logical devices, in a process of their own."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    command = [sys.executable, "-m", "tests.replicas", str(tmp_path_factory.mktemp("replicas"))]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "case", ["everything", "earlier_self", "snapshot", "mutual", "teacher_class"]
)
def test_two_replicas_give_what_one_device_gives(found, case):
    weights, history = found[case]
    assert weights < 1e-6
    assert history < 1e-6


def test_all_replicas_have_the_same_moving_statistics_without_the_empty_ones(found):
    for first, second in found["statistics"]:
        assert first == second
        assert np.isfinite(first).all()


def test_a_relational_loss_relates_the_samples_of_one_replica(found):
    shown, of_the_parts = found["relations"]
    assert shown == pytest.approx(of_the_parts, rel=1e-5)


def test_a_run_on_replicas_that_was_stopped_goes_on_as_if_it_had_not_been(found):
    assert found["resumed"][0] == 0


def test_each_replica_and_each_step_draws_noise_of_its_own(found):
    assert len({tuple(draw) for draw in found["draws"]}) == 4


def test_a_student_from_outside_the_scope_is_refused_with_the_way_out(found):
    assert "inside `with strategy.scope():`" in found["refusal"]


def test_a_student_trained_on_replicas_is_exported_and_evaluated(found):
    assert found["agreement"] == 1.0


def test_data_parallel_is_told_to_do_nothing():
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher"))
    model.compile("sgd", toy.sparse_loss())
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.warns(UserWarning, match="does nothing on TensorFlow"):
            model.fit(np.ones((4, 5)), np.zeros(4), verbose=0)
    finally:
        keras.distribution.set_distribution(None)
