"""What tests of every room share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def tfds_set():
    """Returns the name of a TFDS data set, or skips the test where the set is not on the disk."""

    def present(name: str) -> str:
        folder = os.environ.get("TFDS_DATA_DIR")
        if not folder or not (Path(folder) / name).is_dir():
            pytest.skip(f"the data set {name} is not in TFDS_DATA_DIR ({folder})")
        return name

    return present
