"""Print a digest of the final weights and the history of short trainings, one line per case.

Run it before and after a refactoring on the same machine: every line must be equal. The digests
depend on the processor, so none are stored in the repository.

    python -m benchmarks.robustness.weight_digests > before.txt
    python -m benchmarks.robustness.weight_digests soft_targets cached    # only some cases
"""

import hashlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.robustness.digest_cases import CASES


def main(names):
    tf.config.experimental.enable_op_determinism()
    for name in names or CASES:
        weights, history = CASES[name]()
        keys = sorted(history)
        numbers = digest(np.asarray(history[key], "float64") for key in keys)
        line = f"{name:30} weights {digest(weights)} history {numbers} {' '.join(keys)}"
        print(line, flush=True)


def digest(arrays):
    """Return the start of a SHA-256 of the types, shapes and bytes of arrays."""
    total = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:16]


if __name__ == "__main__":
    main(sys.argv[1:])
