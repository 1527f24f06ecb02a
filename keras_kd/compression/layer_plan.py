"""What will happen to each layer, said before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_kd.compression.tfmot.convert import Bridged

#: What can happen to a layer.
ACTIONS = ("pruned", "clustered", "quantized", "mended", "left", "refused")


@dataclass(frozen=True)
class LayerPlan:
    """What will happen to one layer.

    Attributes:
        name: The layer, `outer/inner` inside a nested model.
        kind: Its class.
        action: One of `ACTIONS`.
        reason: Which of its weights, or why not; and what was changed, exactly, for it.
    """

    name: str
    kind: str
    action: str
    reason: str = ""


def require_known(skip: Sequence[str], bridged: Bridged) -> None:
    """Refuses names of layers that there are not.

    Args:
        skip: Names of layers to leave alone.
        bridged: The student in tf_keras.

    Raises:
        ValueError: When one is unknown.
    """
    unknown = set(skip) - set(bridged.layers)
    if unknown:
        raise ValueError(
            f"`skip` must name layers of the student: {list(bridged.layers)}. "
            f"Received: {sorted(unknown)}"
        )


class LayerPlans(tuple):
    """The plans of all layers, in order; printed, a table."""

    def __str__(self) -> str:
        rows = [("layer", "kind", "what happens", "how, or why not")]
        rows += [(plan.name, plan.kind, plan.action, plan.reason) for plan in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

    def named(self, action: str) -> list[str]:
        """Names of the layers to which something happens."""
        return [plan.name for plan in self if plan.action == action]

    def require(self, action: str, model: str) -> None:
        """Refuses a plan that cannot be carried out.

        Raises:
            ValueError: When some layer is refused, or to none of them anything happens.
        """
        refused = [plan for plan in self if plan.action == "refused"]
        if refused:
            reasons = "; ".join(f"'{plan.name}' ({plan.kind}): {plan.reason}" for plan in refused)
            raise ValueError(f"'{model}' has layers that cannot be {action}: {reasons}")
        if not self.named(action):
            raise ValueError(
                f"'{model}' has no layer that can be {action}. What happens to each:\n{self}"
            )

    def announce(self, action: str, model: str, verbose: str | int) -> None:
        """Prints the plans unless `verbose` is 0.

        Raises:
            ValueError: As `require`.
        """
        self.require(action, model)
        if verbose:
            print(self)
