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


def pytest_configure():
    """Iterate over every data set without autotuning, whose thread ends seconds after the data."""
    if importlib.util.find_spec("tensorflow") is None:
        return
    import tensorflow as tf

    iterate = tf.data.Dataset.__iter__

    def iterate_untuned(dataset):
        options = tf.data.Options()
        options.autotune.enabled = False
        return iterate(dataset.with_options(options))

    tf.data.Dataset.__iter__ = iterate_untuned


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.with_suffix("").as_posix().endswith(LONGEST))


def pytest_collection_finish():
    """Leave out what was imported in later garbage collections; each conversion runs a full one."""
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
