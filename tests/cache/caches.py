"""What several tests of the cache share."""

import numpy as np

import keras_kd as kd

SAMPLES = 100
ROWS, BLOCK = 10_000, 4096


def build(teachers, dataset, path, **kwargs):
    return kd.KnowledgeCache.build(teachers, dataset, path, verbose=0, **kwargs)


def first_outputs(element):
    """Return the values of a joined batch's first teacher at its first tap."""
    taps = next(iter(element[0].teacher_outputs.values()))
    return next(iter(taps.values()))


def read_joined(joined):
    """Return the inputs of joined batches, and the values of the first teacher's first tap."""
    elements = list(joined)
    x = np.concatenate([element[0].x for element in elements])
    return x, np.concatenate([first_outputs(element) for element in elements])


def assert_equal_files(one, other):
    ignored = {"manifest.json", ".lock", "0.teacher.preprocessing.npy"}
    names = {path.name for path in one.iterdir()} - ignored
    assert names == {path.name for path in other.iterdir()} - ignored
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
