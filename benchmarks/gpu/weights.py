"""Weights of trained networks on disk, small and exact for inference.

The kernels of convolutions are stored in bfloat16, the type in which the networks compute with
them; all other values in float32. The high bytes of bfloat16, sign and exponent, compress well, so
they are stored apart from the low ones.
"""

import jax.numpy as jnp
import numpy as np
from ml_dtypes import bfloat16

from keras_kd.files import atomic_write


def save(path, weights):
    """Write `(trainable, non-trainable)` values as an `.npz`."""
    arrays = {}
    for group, values in enumerate(weights):
        for i, value in enumerate(map(np.asarray, values)):
            name = f"{group}_{i:03}"
            if value.ndim == 4:
                arrays[f"{name}_shape"] = np.array(value.shape)
                arrays[name] = value.astype(bfloat16).reshape(-1, 1).view("uint8").T
            else:
                arrays[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path):
    """Read the values that `save` wrote."""
    groups = [[], []]
    with np.load(path) as file:
        for name in sorted(name for name in file.files if not name.endswith("_shape")):
            value = file[name]
            if f"{name}_shape" in file.files:
                value = np.ascontiguousarray(value.T).view(bfloat16).astype("float32")
                value = value.reshape(file[f"{name}_shape"])
            groups[int(name[0])].append(jnp.asarray(value))
    return groups
