"""Weights of PyTorch, read without PyTorch."""

import pickle

import numpy as np
import pytest

from examples.pytorch_weights import StateUnpickler


def test_only_tensors_are_unpickled(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(np.random.default_rng))
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError, match="tensors only"):
        StateUnpickler(file, {}).load()
