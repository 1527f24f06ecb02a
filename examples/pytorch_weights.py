"""The arrays of a file of `torch.save`, read without PyTorch."""

import pickle
from collections import OrderedDict

import numpy as np

TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


def read_state_dict(path):
    """Return the arrays of a file of `torch.save` in the format before PyTorch 1.6.

    The file has five pickles, of a magic number, the version, the sizes of types, the dictionary
    and the keys of its storages; then the storages, each behind its length.
    """
    storages = {}
    with path.open("rb") as file:
        _, version, _, state, keys = (StateUnpickler(file, storages).load() for _ in range(5))
        if version != 1001:
            raise ValueError(f"Expected version 1001 of the format. Received: {version}")
        for key in keys:
            storage = storages[key]
            if int.from_bytes(file.read(8), "little") != len(storage):
                raise ValueError(f"The storage {key!r} of {path} has another length than its use.")
            storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
    return state


class StateUnpickler(pickle.Unpickler):
    """Unpickle dictionaries of tensors only, as arrays that are views of their storages."""

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        """Return one of the few classes and functions that tensors are made of."""
        if module == "torch" and name in TYPES:
            return TYPES[name]
        known = {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": view_storage}
        if module in ("collections", "torch._utils") and name in known:
            return known[name]
        raise pickle.UnpicklingError(f"Expected tensors only. Received: {module}.{name}")

    def persistent_load(self, reference):
        """Return a storage, which is read after the dictionary."""
        _, dtype, key, _, length, _ = reference
        return self.storages.setdefault(key, np.zeros(length, dtype))


def view_storage(storage, offset, shape, strides, *_):
    """Return a tensor as an array; NumPy checks that it lies inside of the storage."""
    size = storage.itemsize
    strides = [stride * size for stride in strides]
    return np.ndarray(shape, storage.dtype, storage, offset * size, strides)
