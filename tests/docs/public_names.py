"""The public names, which the reference must have."""

import inspect

import keras_kd as kd

#: What `kd.compress` returns; nobody creates one.
RESULTS = ("budget.compression.Compression", "budget.files.CompressedFile")


def public_names():
    """Return the names of `kd`, and of the classes and functions of its public modules."""
    return sorted([*(full for name in kd.__all__ for full in _names(name)), *RESULTS])


def _names(name):
    value = getattr(kd, name)
    if not inspect.ismodule(value):
        return [name]
    return [
        f"{name}.{own}"
        for own, member in vars(value).items()
        if not own.startswith("_")
        and (inspect.isclass(member) or inspect.isfunction(member))
        and member.__module__.startswith(value.__name__)
    ]
