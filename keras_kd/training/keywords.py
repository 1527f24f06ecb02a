"""Unknown keyword arguments: an error that says where the words of other libraries belong."""

import difflib
import functools
import inspect
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_TEMPERATURE = "The temperature belongs to the loss: losses=kd.losses.SoftTargets(temperature=4)."
_WEIGHTS = (
    "Each loss has a weight of its own: `student_loss_weight=` of the distiller for the loss on "
    "the labels, and losses=kd.losses.SoftTargets(weight=...) for the distillation."
)
_LOSSES = (
    "Pass distillation losses to the distiller, with their weights: "
    "losses=[kd.losses.SoftTargets(temperature=4, weight=0.9)]."
)
_LABELS = "Pass the loss on the labels to `compile`: distiller.compile('adam', loss=...)."
_TAPS = "Pass a loss between two layers: losses=[kd.losses.Hint('teacher_layer', 'student_layer')]."
#: Words of keras.distillation, of Keras's example "Knowledge Distillation", of torchdistill and of
#: papers, and where they belong here.
_PLACES = {
    **dict.fromkeys(("temperature", "T", "tau", "kd_temperature"), _TEMPERATURE),
    **dict.fromkeys(("alpha", "beta", "lam", "lambda_", "loss_weight", "loss_weights"), _WEIGHTS),
    **dict.fromkeys(("distillation_loss_weight", "distillation_loss_weights"), _WEIGHTS),
    **dict.fromkeys(("distillation_loss", "distillation_loss_fn", "criterion"), _LOSSES),
    **dict.fromkeys(("distillation_losses", "kd_loss", "strategy", "strategies"), _LOSSES),
    **dict.fromkeys(("student_loss", "student_loss_fn", "loss_fn", "loss"), _LABELS),
    **dict.fromkeys(("optimizer", "metrics"), "Pass it to `compile`."),
    **dict.fromkeys(("teacher_layer_name", "student_layer_name", "feature_loss"), _TAPS),
    **dict.fromkeys(("teacher_layer", "student_layer", "hint_layer"), _TAPS),
    **dict.fromkeys(("teacher", "teacher_model"), "The argument is `teachers=`."),
    "student_model": "The argument is `student=`.",
    "epochs": "Pass it to `fit`.",
}
#: Arguments of distillers, for functions that do not take them.
_OF_DISTILLERS = (
    *("losses", "student_loss_weight", "weighting", "noise", "combine", "class_names", "teachers"),
    *("student_outputs", "augment", "same_view", "on_bad_batch", "preserve_sparsity"),
)


def explain_keywords(*others: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator of a function that explains unknown keyword arguments.

    The decorated function keeps its signature. An unknown keyword is a `TypeError` as in Python; it
    adds where the value belongs, or the nearest name.

    Args:
        *others: Functions that get the other keyword arguments (`**kwargs`) of the decorated one.

    Example:
        >>> @explain_keywords(keras.Model.fit)
        ... def train(model, x, **fit): ...
        >>> train(model, x, temperature=4)
        TypeError: train() got an unexpected keyword argument 'temperature'. The temperature ...
    """

    def decorate(function: F) -> F:
        known = [name for each in (function, *others) for name in keyword_names(each)]
        is_init = function.__name__ == "__init__"
        owner = function.__qualname__.split(".")[-2] if is_init else function.__name__

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            reject_unknown(f"{owner}()", kwargs, known)
            return function(*args, **kwargs)

        # Keras reads it without looking through decorators.
        checked.__signature__ = inspect.signature(function)
        return checked

    return decorate


def keyword_names(function: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments of a function that can be passed by name."""
    parameters = inspect.signature(function).parameters.values()
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [one.name for one in parameters if one.kind not in variable and one.name != "self"]


def reject_unknown(owner: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Reject keyword arguments that a function does not have.

    Args:
        owner: Name of the function, for the message.
        given: The keyword arguments.
        known: The names that it has.

    Raises:
        TypeError: If there is another one.
    """
    for name, value in given.items():
        if name not in known:
            raise TypeError(
                f"{owner} got an unexpected keyword argument '{name}'. {_hint(name, known)}"
                f"Received: {name}={reprlib.repr(value)}"
            )


def _hint(name: str, known: Collection[str]) -> str:
    if name in _PLACES:
        return f"{_PLACES[name]} "
    if name in _OF_DISTILLERS:
        return "Pass it to the distiller: kd.Distiller(student, teachers, ...). "
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'? " if near else ""
