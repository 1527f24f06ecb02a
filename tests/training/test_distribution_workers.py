"""Two workers of `MultiWorkerMirroredStrategy`, each a process of its own."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from benchmarks.shared.processes import free_addresses
from tests import replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # Processes that wait for each other.


def job(*arguments):
    """Runs two workers with these arguments each: exit codes, and what they print."""
    places, pipe = free_addresses(2), subprocess.PIPE
    command = [sys.executable, "-m", "tests.worker"]
    started = [
        subprocess.Popen([*command, str(i), *places, *more], stdout=pipe, stderr=pipe, text=True)
        for i, more in enumerate(arguments)
    ]
    teacher_outputs = [worker.communicate(timeout=400) for worker in started]
    for worker, (_, errors) in zip(started, teacher_outputs, strict=True):
        assert worker.returncode in (0, -signal.SIGKILL), errors[-2000:]
    return [json.loads(out.splitlines()[-1]) if out else None for out, _ in teacher_outputs]


@pytest.fixture(scope="module")
def workers():
    return job((), ())


def test_both_workers_end_with_the_same_weights_and_history(workers):
    first, second = workers
    assert first["weights"] == second["weights"]
    assert first["history"] == second["history"]


def test_two_workers_give_what_one_process_gives(workers):
    model, history = replicas.train(replicas.everything, tf.distribute.get_strategy())
    for one, other in zip(model.get_weights(), workers[0]["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert history.keys() == workers[0]["history"].keys()
    for name, values in history.items():
        np.testing.assert_allclose(values, workers[0]["history"][name], atol=1e-6)


def test_a_worker_that_is_killed_ends_the_job_which_then_goes_on(tmp_path):
    run = ["--folder", str(tmp_path / "killed")]
    living, dead = job(run, [*run, "--dies-at", "6"])
    assert dead is None
    assert "Another worker is gone in batch 3 of epoch 2. Start all workers" in living["error"]
    # The one that lived may have a checkpoint more than the other.
    first, second = job(run, run)
    assert first == second
    whole, strategy = kd.callbacks.Resume(tmp_path / "whole", every=2), tf.distribute.get_strategy()
    model, _ = replicas.train(replicas.soft_targets, strategy, callbacks=[whole])
    for one, other in zip(model.get_weights(), first["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_keras_alone_still_fails_on_two_workers(workers):
    """If this fails, keras#20585 is fixed: try to remove CompatModel._maybe_symbolic_build."""
    for worker in workers:
        assert "Attempt to convert a value (PerReplica" in worker["keras"]
