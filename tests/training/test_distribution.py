"""Two replicas on two logical devices, in a process of their own; see tests/replicas.py."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import replicas, toy
from tests.processes import run_processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    (found,) = run_processes(replicas.compare, [str(tmp_path_factory.mktemp("replicas"))])
    return found


@pytest.mark.parametrize(
    "case",
    [
        *("everything", "running_average", "mutual", "early_exits"),
        *("teacher_class", "scheduled"),
    ],
)
def test_two_replicas_give_the_weights_and_the_history_of_one_device(found, case):
    weights, history = found[case]
    assert weights < 1e-5
    assert history < 1e-5


def test_all_replicas_have_the_same_moving_statistics_without_the_empty_ones(found):
    for first, second in found["statistics"]:
        assert first == second
        assert np.isfinite(first).all()


def test_replicas_with_unequal_numbers_of_labels_give_the_weights_of_one_device(found):
    weights, history = found["unequal_labels"]
    assert weights < 1e-5
    assert history < 1e-5


def test_a_relational_loss_relates_the_samples_of_one_replica(found):
    logged, mean_of_parts = found["relational"]
    assert logged == pytest.approx(mean_of_parts, rel=1e-5)


def test_an_interrupted_run_gives_the_weights_of_an_uninterrupted_one(found):
    assert found["resumed"]


@pytest.mark.parametrize("kind", ["draws", "masks"])
def test_each_replica_and_each_step_draws_its_own_noise(found, kind):
    assert len({tuple(draw) for draw in found[kind]}) == 4


def test_a_student_from_outside_the_scope_is_rejected_with_a_remedy(found):
    assert "inside `with strategy.scope():`" in found["rejection"]


def test_a_student_trained_on_replicas_is_exported_and_evaluated(found):
    assert found["agreement"] == 1.0


def test_data_parallel_warns_that_it_has_no_effect():
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher"))
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.warns(UserWarning, match="no effect on TensorFlow"):
            model.fit(np.ones((4, 5)), np.zeros(4), verbose=0)
    finally:
        keras.distribution.set_distribution(None)
