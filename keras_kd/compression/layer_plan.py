"""What a compression does to each layer, and the result of the compression."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import ShortRepr, fields_table, text_fields, text_table
from keras_kd.models.tap_names import resolve_tap, tap_names

#: Values of `LayerPlan.action`.
ACTIONS = ("pruned", "clustered", "quantized", "rewritten", "shrunk", "kept", "refused")


@dataclass(frozen=True, repr=False)
class LayerPlan(ShortRepr):
    """What a compression does to one layer.

    Attributes:
        name: Name of the layer, `outer/inner` inside a nested model.
        kind: Its class.
        action: One of `ACTIONS`.
        reason: The affected weights, or why there are none, and how the layer was rewritten.
    """

    name: str
    kind: str
    action: str
    reason: str = ""


class LayerPlans(HtmlTables, tuple[LayerPlan, ...]):
    """The plans of all layers in order; prints as a table."""

    def __repr__(self) -> str:
        counts = Counter(plan.action for plan in self)
        return f"LayerPlans({', '.join(f'{n} {action}' for action, n in counts.items())})"

    def __str__(self) -> str:
        return text_table(*self._table())

    def html_tables(self) -> Mapping[str, Table]:
        """Return the table of the layers."""
        return {"Layers": self._table()}

    def _table(self) -> Table:
        rows = [(plan.name, plan.kind, plan.action, plan.reason) for plan in self]
        return Table(("layer", "class", "action", "details"), rows)

    def named(self, action: str) -> list[str]:
        """Return the names of the layers with an action."""
        return [plan.name for plan in self if plan.action == action]

    def require(self, action: str, model: str) -> None:
        """Check that the plans can be carried out.

        Raises:
            ValueError: If a layer is refused, or no layer has the action.
        """
        refused = [plan for plan in self if plan.action == "refused"]
        if refused:
            reasons = "; ".join(f"'{plan.name}' ({plan.kind}): {plan.reason}" for plan in refused)
            raise ValueError(f"'{model}' has layers that cannot be {action}: {reasons}")
        if not self.named(action):
            raise ValueError(f"'{model}' has no layer that can be {action}. Its layers:\n{self}")

    def announce(self, action: str, model: str, verbose: str | int) -> None:
        """Print the plans unless `verbose` is 0.

        Raises:
            ValueError: As for `require`.
        """
        self.require(action, model)
        if verbose:
            print(self)


@dataclass(frozen=True)
class Result(HtmlTables):
    """Result of a compression run.

    Attributes:
        model: The student: after pruning and clustering a plain `keras.Model` of the same class;
            after quantization-aware training a `keras.Model` for
            `kd.export.to_tflite(model, path, "int8")`.
        history: The values of each epoch by name, as in `History.history`.
        layers: What was done to each layer; prints as a table.
    """

    model: keras.Model
    history: dict[str, list[float]]
    layers: LayerPlans

    def __repr__(self) -> str:
        fields = {"model": self.model.name, "layers": self.layers, "last epoch": self._last_epoch()}
        return text_fields("Result", fields)

    def html_tables(self) -> Mapping[str, Table]:
        """Return the last epoch and the layers."""
        fields = {"model": self.model.name, "parameters": self.model.count_params()}
        return {
            "Compression": fields_table({**fields, **self._last_epoch()}),
            **self.layers.html_tables(),
        }

    def _last_epoch(self) -> dict[str, float]:
        return {name: values[-1] for name, values in self.history.items() if values}


def resolve_skip(skip: Any, student: keras.Model, layers: Collection[str]) -> list[str]:
    """Return the names of the layers to skip.

    Args:
        skip: Names of layers, or the layers.
        student: The student.
        layers: The names of its layers.

    Raises:
        TypeError: If one is neither a name nor a layer.
        ValueError: If a name is unknown.
    """
    names = tap_names(skip, "skip", "Compression", required=True)
    skip = [resolve_tap(name, [student], "skip", "Compression") for name in names]
    unknown = set(skip) - set(layers)
    if unknown:
        raise ValueError(
            f"`skip` must name layers of the student: {list(layers)}. Received: {sorted(unknown)}"
        )
    return skip
