"""Each training gives the weights of the TensorFlow backend; `write_weights` made the file."""

from pathlib import Path

import numpy as np
import pytest

from tests.backends.cases import CASES

WEIGHTS = np.load(Path(__file__).parent / "tensorflow.npz")


@pytest.mark.parametrize("case", CASES)
def test_the_final_weights_are_those_of_tensorflow(case):
    found = CASES[case]()
    expected = [WEIGHTS[f"{case}/{i}"] for i in range(len(found))]
    assert f"{case}/{len(found)}" not in WEIGHTS
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
