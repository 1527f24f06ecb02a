"""What tests of every room share."""

import gc
import importlib.util
import os
from pathlib import Path

import pytest

#: Files that take longest. They start first, so that no process works on one while others idle.
LONGEST = (
    "test_arguments",
    "test_snippets",
    "test_task_matrix",
    "test_conformance",
    "examples/test_teacher_class",
    "test_resume",
    "test_qat_rewrites",
    "test_distribution",
    "test_label_masking",
)


def pytest_configure(config):
    """Set up TensorFlow, but not in a process that only starts those that run the tests."""
    starts_others = getattr(config.option, "numprocesses", None) and not hasattr(
        config, "workerinput"
    )
    if starts_others or importlib.util.find_spec("tensorflow") is None:
        return
    gc.disable()  # Until everything is imported.
    _run_kernels_directly()
    _iterate_untuned()
    _keep_graphs_as_they_are()


def _run_kernels_directly():
    """Run a new eager operation without a function around it, which takes 0.5 ms to optimize.

    A new seed makes all operations new.
    """
    from tensorflow.python import pywrap_tfe

    pywrap_tfe.TFE_ContextOptionsSetRunEagerOpAsFunction = lambda options, value: None


def _iterate_untuned():
    """Iterate over every data set without autotuning, whose thread ends seconds after the data.

    Optimizing the graph of a data set takes longer than the few samples that it makes faster.
    """
    import tensorflow as tf

    iterate = tf.data.Dataset.__iter__

    def iterate_untuned(dataset):
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return iterate(dataset.with_options(options))

    tf.data.Dataset.__iter__ = iterate_untuned


def _keep_graphs_as_they_are():
    """Skip the optimization of graphs, which takes longer than the few steps of a test.

    Child processes, the demo and the benchmarks run with it.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.with_suffix("").as_posix().endswith(LONGEST))


def pytest_collection_finish():
    """Collect garbage less often and without what was imported; each conversion collects all."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def _keep_what_a_file_leaves():
    """Exclude from later collections what the tests of a file keep, such as compiled functions."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def tfds_set():
    """Returns the name of a TFDS data set, or skips the test where the set is not on the disk."""

    def present(name: str) -> str:
        folder = os.environ.get("TFDS_DATA_DIR")
        if not folder or not (Path(folder) / name).is_dir():
            pytest.skip(f"the data set {name} is not in TFDS_DATA_DIR ({folder})")
        return name

    return present
