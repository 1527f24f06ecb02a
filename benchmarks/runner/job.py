"""One job, or a whole benchmark in its quick form: what the runner's workers execute."""

import os
import threading
import time
from multiprocessing import parent_process

from benchmarks.registry import load
from benchmarks.runner.results import Done


def end_with_the_runner():
    """Once the runner is gone, whatever ended it, its workers end too."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end():
    parent_process().join()
    os._exit(1)


def run_job(name, cell, seed, jobs):
    start_afresh(jobs)
    start = time.perf_counter()
    metrics = load(name).run(cell, seed, False)
    return metrics, time.perf_counter() - start


def run_quickly(name, jobs, about):
    """All jobs of a benchmark in its quick form: its report, and the seconds they took."""
    # Once for all jobs: it takes as long as a small one of them.
    start_afresh(jobs)
    from benchmarks.shared import training

    training.quickly = True
    start = time.perf_counter()
    module, done = load(name), Done(about=about)
    while todo := [job for job in module.plan(done, 1, True) if job not in done]:
        for cell, seed in todo:
            done.add(cell, seed, module.run(cell, seed, True), 0)
    return module.report(done), time.perf_counter() - start


def start_afresh(jobs):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    if jobs > 1:
        # Small models gain little from a second thread; two processes gain twice.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    keras.backend.clear_session()
