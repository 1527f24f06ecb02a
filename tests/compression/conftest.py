"""Compressed students that several test modules share; they are not changed."""

import pytest

from tests import toy
from tests.compression import runs


@pytest.fixture(scope="session")
def pruned():
    """`wide`, distilled and pruned to 80 % zeros."""
    teacher, validation = toy.cnn("teacher", seed=1), toy.data(16, seed=1)
    return runs.prune(
        runs.wide(), teachers=teacher, validation_data=validation, metrics=["accuracy"]
    )


@pytest.fixture(scope="session")
def clustered():
    """`wide`, distilled and clustered to 8 values."""
    teacher, validation = toy.cnn("teacher", seed=1), toy.data(16, seed=1)
    return runs.cluster(runs.wide(), teachers=teacher, validation_data=validation)


@pytest.fixture(scope="session")
def pruned_and_clustered(pruned):
    """`wide`, pruned and then clustered."""
    return runs.cluster(pruned.model)
