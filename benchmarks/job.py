"""One job, or a whole benchmark in its quick form: what the runner's workers execute."""

import importlib
import os
import threading
import time
from multiprocessing import parent_process

from benchmarks.results import Done


def end_with_the_runner():
    """Once the runner is gone, whatever ended it, its workers end too."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end():
    parent_process().join()
    os._exit(1)


def run_job(name, cell, seed, quick, jobs):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    if jobs > 1:
        # Small models gain little from a second thread; two processes gain twice.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    keras.backend.clear_session()
    start = time.perf_counter()
    metrics = importlib.import_module(f"benchmarks.{name}").run(cell, seed, quick)
    return metrics, time.perf_counter() - start


def run_quickly(name, jobs, about):
    """All jobs of a benchmark in its quick form: its report, and the processor's seconds."""
    start = time.process_time()
    module, done = importlib.import_module(f"benchmarks.{name}"), Done(about=about)
    while todo := [job for job in module.plan(done, 1, True) if job not in done]:
        for cell, seed in todo:
            done.add(cell, seed, *run_job(name, cell, seed, True, jobs))
    return module.report(done), time.process_time() - start
