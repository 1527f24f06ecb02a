"""What a user declares the outputs of a model to be: logits, probabilities or numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_kd.models.logits import OutputKind

#: Values of an `outputs` argument.
OUTPUTS = ("auto", "logits", "probabilities", "values")
#: An `outputs` argument: one value for all outputs, or a dict from output to value.
Declaration = str | Mapping[str, str]
#: How to declare an output whose kind cannot be detected.
DECLARE = (
    'Declare `outputs="logits"`, `outputs="probabilities"` or, for numbers (regression), '
    '`outputs="values"`, for all outputs or in a dict by output (for a student '
    "`student_outputs=...`)."
)


def check_declaration(outputs: Any, argument: str) -> None:
    """Reject an `outputs` argument that is neither one of `OUTPUTS` nor a dict of them.

    Args:
        outputs: The argument.
        argument: What to call it in the message.

    Raises:
        ValueError: If it is not.
    """
    values = list(outputs.values()) if isinstance(outputs, Mapping) else [outputs]
    if not all(isinstance(value, str) and value in OUTPUTS for value in values):
        raise ValueError(
            f"{argument} must be one of {OUTPUTS}, or a dict from output to one of them. "
            f"Received: {outputs!r}"
        )


def check_declared_names(outputs: Declaration, names: Sequence[str], model: str) -> None:
    """Reject a dict that declares an output that a model does not have.

    Raises:
        ValueError: If it does.
    """
    unknown = [] if isinstance(outputs, str) else [name for name in outputs if name not in names]
    if unknown:
        raise ValueError(
            f"`outputs` declares {unknown}, but '{model}' has the outputs {list(names)}. "
            f"Received: outputs={dict(outputs)}"
        )


def declared_kind(outputs: Declaration, name: str | None, names: Sequence[str]) -> str:
    """Return what an output is declared as, one of `OUTPUTS`.

    Args:
        outputs: The declaration.
        name: The output's name, or `None` for the only one.
        names: Names of the model's outputs.
    """
    if isinstance(outputs, str):
        return outputs
    return outputs.get(names[0] if name is None else name, "auto")


def resolve_kind(declared: str, found: str) -> str | None:
    """Return the kind of an output from its declaration and its visible kind.

    Args:
        declared: One of `OUTPUTS`.
        found: The kind that `inspect_output` detected.

    Returns:
        `"logits"`, `"softmax"`, `"sigmoid"`, `"values"`, `"probabilities"` (of an activation that
        is not visible), `"unknown"`, or `None` if the two contradict each other.
    """
    visible = found in ("softmax", "sigmoid")
    if declared == "auto":
        return found
    if declared == "values":
        return "values"
    if declared == "logits":
        return None if visible else "logits"
    if found == "unknown":
        return "probabilities"
    return found if visible else None


def unknown_output_message(name: str, found: OutputKind) -> str:
    """Return the error message for an output of unknown kind."""
    source = "an input" if found.call is None else f"'{found.call.path}'"
    kind = "" if found.call is None else f" ({type(found.call.layer).__name__})"
    return (
        f"The output of '{name}', computed by {source}{kind}, may be logits or probabilities; its "
        "activation is not known."
    )


def contradiction_message(name: str, declared: str, found: OutputKind) -> str:
    """Return the error message for a declaration that contradicts a visible activation."""
    computed = "returns logits" if found.kind == "logits" else f"applies a {found.kind}"
    computed = "returns numbers" if found.kind == "values" else computed
    return (
        f"'{name}' is declared to return {declared}, but '{found.call.path}' {computed}. Omit the "
        f"declaration of this output. Received: outputs={declared!r}"
    )
