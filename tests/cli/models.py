"""Models and folders of the command line's tests."""

import keras
import numpy as np
from keras import layers


def dense(name, *units, last=None):
    stack = [layers.Dense(count, "relu") for count in units]
    return keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), *stack, layers.Dense(10, last)], name=name
    )


def with_code(name="with_code"):
    """A model with a Lambda layer that creates the file `ran` when it is loaded or called."""
    code = layers.Lambda(lambda x: (__import__("pathlib").Path("ran").touch(), x)[1])
    return keras.Sequential([layers.Input((8, 8, 1)), code, dense("inner")], name=name)


def save_split(path, shape=(8, 8, 1), labels=(0, 1)):
    """Save a split of zeros, such as `mine/train.npz`."""
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x=np.zeros((len(labels), *shape), "float32"), y=labels)


def files_in(folder):
    """Names of the files in a folder, without the links to the shared models."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
