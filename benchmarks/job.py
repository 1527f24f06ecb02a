"""One job, in a process of its own kind: what the runner's workers execute."""

import importlib
import os
import time


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
