"""Copies of optimizers."""

import keras


def copy_optimizer(optimizer: str | keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return a new optimizer with the same configuration and without any state.

    An optimizer belongs to the variables of its first step, so each training needs its own.
    """
    optimizer = keras.optimizers.get(optimizer)
    return type(optimizer).from_config(optimizer.get_config())
