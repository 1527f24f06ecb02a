"""Teachers where the replicas of `tf.distribute` can reach them."""

import copy

from keras_kd.models.copy import copy_model
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.distribution import is_built_in_scope


def replicate_teacher(teacher: Teacher) -> Teacher:
    """The teacher with weights on each replica's device.

    A model that was built outside `strategy.scope()` has its weights on one device, and each step
    would send them to all others. It is copied; the user's own stays as it is.

    Args:
        teacher: The teacher.

    Returns:
        The same teacher where it is in place, or one whose model is a copy.

    Raises:
        ValueError: When the model cannot be copied.
    """
    if teacher.model is None or is_built_in_scope(teacher.model.variables):
        return teacher
    found = copy.copy(teacher)
    try:
        found.model = copy_model(teacher.model)
    except ValueError as error:
        raise ValueError(
            f"Teacher '{teacher.name}' was built outside `strategy.scope()`, and it cannot be "
            f"copied into it. Build or load it inside the scope. The cause: {error}"
        ) from error
    return found
