"""What is known of an output where scores are computed: declaration, compiled loss and heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_kd.models.declaration import OUTPUTS, resolve_kind
from keras_kd.models.task import TASKS, Evidence, decide_task, reads_logits

#: Values of an `outputs` argument where scores are computed.
DECLARATIONS = (*OUTPUTS, *TASKS[:3])


@dataclass(frozen=True)
class OutputTask:
    """What the numbers of an output are.

    Attributes:
        name: The output.
        task: One of `TASKS`, or `None` if only the labels can tell.
        probabilities: Whether yes-or-no and class outputs are probabilities and not logits; `None`
            if it is not known.
        declared: Whether the output is declared as logits or probabilities, so that it cannot be
            numbers.
    """

    name: str
    task: str | None
    probabilities: bool | None
    declared: bool = False


def decide_output(evidence: Evidence) -> OutputTask:
    """Decide what the numbers of an output are, from the declaration, the loss and the heads.

    Raises:
        ValueError: If the evidence is contradictory.
    """
    declared, heads = evidence.declared, set(evidence.heads) - {"unknown"}
    visible = heads & {"softmax", "sigmoid"}
    if (declared == "logits" and visible) or (declared == "probabilities" and heads - visible):
        raise ValueError(
            f"The output '{evidence.name}' is declared as {declared!r}, but the layer that makes "
            f"it gives {' and '.join(sorted(heads))}. Declare another one, or each output by name: "
            f"outputs={{{evidence.name!r}: ...}}. Received: outputs={declared!r}"
        )
    _check_units(evidence)
    if declared in ("logits", "probabilities"):
        evidence = replace(evidence, heads=list(visible))  # A relu of logits is no regression.
    task = decide_task(evidence)
    probabilities = bool(visible) if heads else None
    if declared in ("logits", "probabilities"):
        probabilities = declared == "probabilities"
        task = task or ("binary" if evidence.units == 1 else None)
    elif probabilities is None and reads_logits(evidence.loss) is not None:
        probabilities = not reads_logits(evidence.loss)
    return OutputTask(
        evidence.name, task, probabilities, declared in ("logits", "probabilities", *TASKS[:3])
    )


def declared_outputs(outputs: Any, heads: Mapping[str, str]) -> dict[str, str]:
    """Return what each output is declared as, from an `outputs` argument.

    Args:
        outputs: One of `DECLARATIONS`, or a dictionary by output. One declaration of several
            outputs applies to those whose activation is not visible.
        heads: The kind of each output as `inspect_output` returns it, by name.

    Raises:
        ValueError: If it is something else.
    """
    given = outputs if isinstance(outputs, Mapping) else dict.fromkeys(heads, outputs)
    unknown = sorted(set(given) - set(heads))
    if unknown:
        raise ValueError(
            f"Expected `outputs` by the names of the outputs {list(heads)}. Received: one of "
            f"{unknown}. Rename or remove these."
        )
    for name, declared in given.items():
        if not isinstance(declared, str) or declared not in DECLARATIONS:
            raise ValueError(
                f"Expected `outputs` of {DECLARATIONS}, or a dictionary of these by output. "
                f"Received: {declared!r} for output '{name}'. Choose one."
            )
    found = {name: given.get(name, "auto") for name in heads}
    if isinstance(outputs, str) and len(heads) > 1:
        found = {n: "auto" if resolve_kind(d, heads[n]) is None else d for n, d in found.items()}
    return found


def compiled_losses(
    model: keras.Model, names: Sequence[str], rename: Callable[[str], str] = str
) -> dict[str, Any]:
    """Return the compiled loss of each output, `None` for one without.

    Args:
        model: Compiled or not.
        names: Names of its outputs, in order.
        rename: Makes one of `names` of an output's name in the model. Defaults to `str`.
    """
    loss = model.loss if model.compiled else None
    if isinstance(loss, Mapping):
        loss = {rename(name): one for name, one in loss.items()}
        return {name: loss.get(name) for name in names}
    if isinstance(loss, (list, tuple)):
        return dict(zip(names, loss, strict=False))
    return dict.fromkeys(names, loss)


def _check_units(evidence: Evidence) -> None:
    single = evidence.declared == "binary"
    if evidence.declared in ("binary", "classes", "labels") and single != (evidence.units == 1):
        raise ValueError(
            f"An output of {'one unit' if single else 'two units or more'} can be declared as "
            f"{evidence.declared!r}. Received: outputs={evidence.declared!r} for the output "
            f"'{evidence.name}' of {evidence.units}"
        )
