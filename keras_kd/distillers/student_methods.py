"""Methods of a student that have no effect while a distiller trains it."""

import keras

from keras_kd.models.user_warnings import warn_user

#: The methods of the training and evaluation step.
_STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics")


def warn_about_own_steps(student: keras.Model, owner: str) -> None:
    """Warn about a student whose class trains or evaluates in its own way.

    Args:
        student: The student.
        owner: The class that trains it.
    """
    kind = type(student)
    own = [name for name in _STEPS if getattr(kind, name) is not getattr(keras.Model, name)]
    if own:
        warn_user(
            f"{owner}: the student '{student.name}' ({kind.__name__}) has its own "
            f"{' and '.join(f'`{name}`' for name in own)}, which {owner} does not call: it runs "
            "the step itself. Pass what it computes as `loss` and `metrics` to `compile`, or add "
            "it in the student's `call` with `add_loss`."
        )
