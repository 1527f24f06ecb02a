"""Digests of the weights of short trainings."""

import numpy as np

from benchmarks.robustness.digest_cases import CASES
from benchmarks.robustness.weight_digests import digest, main


def test_digest_depends_on_type_shape_and_bytes():
    zeros = np.zeros(4, "float32")
    others = [[zeros + 1], [zeros.reshape(2, 2)], [zeros.astype("float64")], [zeros, zeros]]
    digests = {digest(arrays) for arrays in ([zeros], *others)}
    assert len(digests) == 5
    assert digest([zeros]) == digest(iter([zeros.copy()]))


def test_same_case_gives_the_same_line(capsys, monkeypatch):
    monkeypatch.setattr("tensorflow.config.experimental.enable_op_determinism", lambda: None)
    main(["eager_without_labels", "eager_without_labels"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("eager_without_labels ")
    assert first.endswith(" loss soft_targets")


def test_cases_have_unique_short_names():
    assert all(len(name) <= 30 and name.isidentifier() for name in CASES)
