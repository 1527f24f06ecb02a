"""Weights of teachers on disk."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="the GPU benchmark needs JAX")

from ml_dtypes import bfloat16

from benchmarks.gpu.weights import load, save


def test_kernels_are_kept_in_bfloat16_and_all_else_exactly(tmp_path):
    rng = np.random.default_rng(0)
    kernel, dense = rng.normal(size=(3, 3, 4, 5)), rng.normal(size=(5, 2))
    trainable = [kernel.astype("float32"), dense.astype("float32")]
    others = [rng.normal(size=5).astype("float32")]
    save(tmp_path / "teachers" / "one.npz", [trainable, others])
    found = load(tmp_path / "teachers" / "one.npz")
    np.testing.assert_array_equal(found[0][0], trainable[0].astype(bfloat16).astype("float32"))
    np.testing.assert_array_equal(found[0][1], trainable[1])
    np.testing.assert_array_equal(found[1][0], others[0])
