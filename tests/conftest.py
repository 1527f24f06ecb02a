"""What tests of every room share."""

import collections
import gc
import importlib.util
import os
import sys
from pathlib import Path

import pytest

# TensorFlow's own convolutions on a CPU need the channels last. oneDNN's do not, but older CPUs do
# not use them by default.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

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

#: Files whose functions run without tracing, which takes longer than their few small steps. What
#: is traced has tests in `distillers/test_conformance`, `distillers/test_fit` and those marked
#: `traced` here.
EAGER = (
    "test_channels_first",
    "test_task_matrix",
    "test_named_inputs",
    "budget/test_compress",
    "budget/test_recipe",
    "budget/test_search",
    "cache/test_cached_teacher",
    "cache/test_join",
    "cache/test_knowledge_cache",
    "cache/test_prepared",
    "cli/test_fine_tuning",
    "compression/test_cluster",
    "compression/test_pipeline",
    "compression/test_prune",
    "compression/test_quantize_aware",
    "compression/qat/test_quantize",
    "compression/tfmot/test_training",
    "distillers/test_deep_supervision",
    "docs/test_notebooks",
    "docs/test_snippets",
    "distillers/test_default_losses",
    "distillers/test_evaluation",
    "distillers/test_keras_interface",
    "distillers/test_mutual_learning",
    "distillers/test_self_distiller",
    "recipes/test_born_again",
    "recipes/test_distill_chain",
    "recipes/test_function_matching",
    "recipes/test_pseudo_label",
    "recipes/test_stage",
    "recipes/test_with_teacher_head",
    "teacher_class/test_teacher_class",
    "teachers/test_precomputed_teacher",
    "training/test_augmentation",
    "training/test_class_weights",
    "training/test_label_checks",
    "training/test_label_masking",
)


def pytest_addoption(parser):
    parser.addoption("--cases", type=int, help="run at most so many cases of a parametrized test")


def pytest_configure(config):
    """Set up TensorFlow, but not in a process that only starts those that run the tests."""
    starts_others = getattr(config.option, "numprocesses", None) and not hasattr(
        config, "workerinput"
    )
    if starts_others or importlib.util.find_spec("tensorflow") is None:
        return
    gc.disable()  # Until everything is imported.
    # Keras imports them if they are there, to draw and to wrap models, which takes two seconds.
    hidden = [name for name in ("matplotlib", "sklearn") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    from tests import quick_tensorflow

    for name in hidden:
        del sys.modules[name]
    quick_tensorflow.configure()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Run the functions of some files without tracing them."""
    import keras

    eager = is_in(item, EAGER) and not item.get_closest_marker("traced")
    if not eager or keras.config.backend() != "tensorflow":
        return (yield)
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        return (yield)
    finally:
        tf.config.run_functions_eagerly(False)


def pytest_collection_modifyitems(config, items):
    if limit := config.option.cases:
        cases = collections.Counter()
        for item in items:
            cases[item.path, item.originalname] += 1
            item.case = cases[item.path, item.originalname]
        items[:] = [item for item in items if item.case <= limit]
    items.sort(key=lambda item: not is_in(item, LONGEST))


def is_in(item, files):
    return item.path.with_suffix("").as_posix().endswith(files)


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
