"""The random state of models, which Keras does not save."""

from collections.abc import Sequence

import keras


def seed_states(models: Sequence[keras.Model]) -> list[keras.Variable]:
    """Return the states of the models' random generators, such as those of dropout.

    A saved model that holds them as variables draws the same random numbers after a resume.

    Returns:
        Variables that are not weights of the models.
    """
    weights = {id(weight) for model in models for weight in model.weights}
    return [
        variable
        for model in models
        for variable in model.variables
        if id(variable) not in weights and "seed_generator" in variable.path
    ]
