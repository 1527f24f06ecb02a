"""Work of a worker process: one job, or the quick form of a whole benchmark."""

import os
import threading
import time
from multiprocessing import parent_process

from benchmarks.registry import load
from benchmarks.runner.results import Done


def exit_with_parent():
    """End this process as soon as its parent has ended, for whatever reason."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent():
    parent_process().join()
    os._exit(1)


def run_job(name, cell, seed, jobs):
    """Run one job; return its metrics and how many seconds it took."""
    prepare_process(jobs)
    start = time.perf_counter()
    metrics = load(name).run(cell, seed, False)
    return metrics, time.perf_counter() - start


def run_quick(name, jobs, about):
    """Run all jobs of a benchmark in its quick form; return its report and the seconds."""
    # Once for all jobs, because it takes as long as a small job.
    prepare_process(jobs)
    from benchmarks.shared import training

    training.quick_mode = True
    start = time.perf_counter()
    module, done = load(name), Done(about=about)
    while todo := [job for job in module.plan(done, 1, True) if job not in done]:
        for cell, seed in todo:
            done.add(cell, seed, module.run(cell, seed, True), 0)
    return module.report(done), time.perf_counter() - start


def prepare_process(jobs):
    """Limit TensorFlow to one thread if several jobs run at once, and clear Keras's state."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    if jobs > 1:
        # Small models gain little from a second thread; two processes are twice as fast.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    keras.backend.clear_session()
