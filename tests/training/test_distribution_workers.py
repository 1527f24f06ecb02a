"""Two workers of `MultiWorkerMirroredStrategy`, each in its own process."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from benchmarks.shared.processes import free_addresses
from tests import replicas, toy
from tests.processes import run_processes
from tests.worker import work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # Processes that wait for each other.


def run_job(folder, *more):
    """Runs two workers; returns their results, or `None` for one that was killed."""
    addresses = free_addresses(2)
    return run_processes(work, *((i, addresses, folder, *each) for i, each in enumerate(more)))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder of checkpoints, and the results of the job in which one worker was killed."""
    folder = tmp_path_factory.mktemp("killed")
    return folder, run_job(folder, [], [replicas.STEPS + 1])


@pytest.fixture(scope="module")
def workers(killed):
    """The results of the job that continues in the folder."""
    return run_job(killed[0], [], [])


def test_a_killed_worker_ends_the_job_with_a_readable_error(killed):
    living, dead = killed[1]
    assert dead is None
    assert "Another worker is gone in batch 2 of epoch 2. Start all workers" in living["error"]


def test_a_restarted_job_gives_the_weights_of_one_process(workers, tmp_path):
    # The surviving worker may have one checkpoint more than the other.
    assert workers[0]["resumed"] == workers[1]["resumed"]
    strategy, resume = tf.distribute.get_strategy(), kd.callbacks.Resume(tmp_path, every=2)
    expected = replicas.soft_targets(strategy, [resume], run_eagerly=True)
    for one, other in zip(workers[0]["resumed"], expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_both_workers_have_the_same_weights_and_history(workers):
    first, second = workers
    for one, other in zip(first["weights"], second["weights"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert first["history"] == second["history"]


def test_two_workers_give_the_weights_of_one_process(workers):
    model, history = replicas.everything(tf.distribute.get_strategy(), run_eagerly=True)
    for one, other in zip(model.get_weights(), workers[0]["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert history.keys() == workers[0]["history"].keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, workers[0]["history"][name], atol=1e-6)


def test_each_worker_builds_its_shard_of_a_cache(workers, killed, tmp_path):
    assert [worker["shard"] for worker in workers] == [[(0, 2), 7], [(1, 2), 6]]
    merged = kd.KnowledgeCache.merge(killed[0] / "cache")
    shard, samples = replicas.cache(tf.distribute.get_strategy(), tmp_path / "cache")
    assert (shard, samples, len(merged)) == (None, 13, 13)
    for file in ("inputs.npy", "0.teacher.output.npy", "0.teacher.hidden.npy"):
        one, other = (np.load(path / file) for path in (merged.path, tmp_path / "cache"))
        np.testing.assert_allclose(one, other, rtol=1e-6)
    joined = merged.join(tf.data.Dataset.from_tensor_slices(toy.vectors(13)).batch(5))
    distiller = kd.Distiller(toy.mlp("student"), merged.teachers)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    assert np.isfinite(distiller.fit(joined, verbose=0).history["soft_targets"][0])


def test_keras_alone_still_fails_on_two_workers(workers):
    """If this fails, keras#20585 is fixed: try to remove CompatModel._maybe_symbolic_build."""
    for worker in workers:
        assert "Attempt to convert a value (PerReplica" in worker["keras"]
