"""Write the final weights of all cases: `python -m tests.backends.write_weights FILE.npz`."""

import sys

import numpy as np

from tests.backends.cases import CASES


def main(path):
    arrays = {
        f"{name}/{i}": weight for name, case in CASES.items() for i, weight in enumerate(case())
    }
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
