"""The random state of models, which Keras keeps in no file of its own accord."""

from collections.abc import Sequence

import keras


def seed_states(models: Sequence[keras.Model]) -> list[keras.Variable]:
    """The states of the models' random generators, such as those of dropout.

    Held as variables by a model that is saved, they make a resumed run draw what the run would have
    drawn.

    Args:
        models: Built models.

    Returns:
        Variables that are no weights of the models.
    """
    weights = {id(weight) for model in models for weight in model.weights}
    return [
        variable
        for model in models
        for variable in model.variables
        if id(variable) not in weights and "seed_generator" in variable.path
    ]
