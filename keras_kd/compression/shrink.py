"""Structured pruning: remove channels for good, and keep the weights of the others."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.compression.channel_groups import ChannelGroup, ChannelGroups, channel_groups
from keras_kd.compression.channel_importance import (
    IMPORTANCES,
    magnitude_scores,
    random_scores,
    taylor_scores,
)
from keras_kd.compression.channel_surgery import Removal, remove_blocks
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, resolve_skip
from keras_kd.compression.model_size import ModelSize, predict_size
from keras_kd.compression.residual_blocks import ResidualBlock, find_blocks, select_blocks
from keras_kd.compression.training import Training
from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import results_table, text_fields
from keras_kd.models.graph import Graph
from keras_kd.training.keywords import explain_keywords

_BISECTIONS = 40
_BUDGETS = {"max_parameters": "parameters", "max_macs": "macs", "max_bytes": "int8_bytes"}


@dataclass(frozen=True)
class ShrinkResult(HtmlTables):
    """Result of `kd.compression.shrink`.

    Attributes:
        model: The smaller model.
        found: The channels of the original, and what was kept whole.
        kept: By group, how many of its channels remain.
        before: The size of the original.
        after: The size of the smaller model.
        removed_blocks: The additions whose residual blocks are removed.
    """

    model: keras.Model
    found: ChannelGroups
    kept: Mapping[str, int]
    before: ModelSize
    after: ModelSize
    removed_blocks: tuple[str, ...] = ()

    @property
    def layers(self) -> LayerPlans:
        """What happened to each group of channels and to the layers kept whole, as a table."""
        groups = {group.name: group for group in self.found.groups}
        shrunk = [
            LayerPlan(name, "channels", "shrunk", f"{count} of {len(groups[name])} remain")
            for name, count in self.kept.items()
        ]
        whole = [LayerPlan(name, "", "kept", why) for name, why in self.found.whole.items()]
        return LayerPlans([*shrunk, *whole])

    def __repr__(self) -> str:
        fields = {"model": self.model.name, "found": self.found}
        return text_fields("ShrinkResult", {**fields, "before": self.before, "after": self.after})

    def html_tables(self) -> Mapping[str, Table]:
        """Return the sizes before and after, and what happened to each group of channels."""
        sizes = {"before": self.before, "after": self.after}
        return {"Size": results_table("", sizes), **self.layers.html_tables()}


@explain_keywords(Training)
def shrink(
    model: keras.Model,
    ratio: float | Mapping[str, float] | None = None,
    *,
    max_parameters: int | None = None,
    max_macs: int | None = None,
    max_bytes: int | None = None,
    depth: float = 1.0,
    importance: str = "magnitude",
    skip: Sequence[str] = (),
    seed: int = 0,
    data: Any = None,
    epochs: int = 1,
    **training: Any,
) -> ShrinkResult:
    """Remove the channels, units and attention heads of a model that matter least.

    Builds a smaller plain Keras model, a student for its teacher, that keeps the weights of
    everything else. Channels that additions, concatenations or other operations couple are removed
    together. The same share of each group of channels remains, at least one. The smaller model
    computes what the original computes if the removed channels are not read; distill it with the
    original as its teacher.

    Args:
        model: A built and trained Functional or Sequential `keras.Model`, which is not changed.
        ratio: The share of channels that remain in each group, in (0, 1]; by group, a dictionary by
            the names that `channel_groups` lists, in which a missing group stays whole. Defaults to
            0.5 unless there is a budget or a `depth`.
        max_parameters: A budget in place of `ratio`: the largest number of weights.
        max_macs: A budget: the largest number of multiply-accumulate operations per sample.
        max_bytes: A budget: the largest size of the int8 file, which is estimated.
        depth: The share of residual blocks that remain, in (0, 1]: of those whose branch has the
            same kinds of layers and the same shape, evenly spaced. A removed block passes its
            input on. With a `depth` alone, `ratio` is 1. Defaults to 1.
        importance: What decides which channels remain: `"magnitude"`, the scales of their
            normalizations, and where there are none, how far their kernels are from the others of
            the layer; `"taylor"`, the change of the loss on `data` without them, to first order;
            or `"random"`. Defaults to `"magnitude"`.
        skip: Layers, or their names, all of whose channels remain. Defaults to none.
        seed: Seed for `importance="random"`. Defaults to 0.
        data: For `importance="taylor"`: data as in `kd.compression.Training`. Defaults to `None`.
        epochs: For `importance="taylor"`: passes over `data`. Defaults to 1.
        **training: For `importance="taylor"`: other arguments of `kd.compression.Training`, with a
            `loss` on the labels or `teachers`, or both.

    Returns:
        The `ShrinkResult`.

    Raises:
        ValueError: If an argument is out of range, a budget cannot be met (the message says which
            can), the model is subclassed, or nothing can be removed.

    Example:
        >>> small = kd.compression.shrink(teacher, 0.5).model
        >>> distiller = kd.Distiller(small, teacher)

    Reference:
        Scales: Liu et al. 2017, arXiv:1708.06519; kernels: He et al. 2019, arXiv:1811.00250;
        loss: Molchanov et al. 2019, arXiv:1906.10771.
    """
    budgets = {"max_parameters": max_parameters, "max_macs": max_macs, "max_bytes": max_bytes}
    budgets = {name: value for name, value in budgets.items() if value is not None}
    _check(ratio, budgets, importance, data, training)
    whole, blocks = model, _blocks_to_remove(model, depth)
    if blocks:
        model = remove_blocks(model, blocks)
    found = channel_groups(model)
    groups = _without_skipped(whole, found, skip)
    if not groups and not blocks:
        raise ValueError(
            f"'{model.name}' has no channels that can be removed. Its channels:\n{found}"
        )
    options = {"data": data, "epochs": epochs, "verbose": 0, **training}
    scores = _score_channels(model, found, importance, seed, options)

    def plan_removal(share: Any) -> tuple[Removal, ModelSize]:
        removal = Removal(found, select_units(groups, scores, share))
        return removal, predict_size(found.graph, model.weights, removal.shape)

    if ratio is None:
        ratio = 0.5 if depth == 1 else 1.0
    _check_names(ratio, groups)
    share = _solve(plan_removal, budgets) if budgets else ratio
    removal, after = plan_removal(share)
    kept = {group.name: count_remaining(group, share) for group in groups}
    before = _size_of(whole, channel_groups(whole).graph if blocks else found.graph)
    removed = tuple(block.name for block in blocks)
    return ShrinkResult(removal.apply(model), found, kept, before, after, removed)


def _blocks_to_remove(model: keras.Model, depth: float) -> list[ResidualBlock]:
    """Return the residual blocks to remove.

    Raises:
        ValueError: If the share is out of range, or the model has no residual blocks.
    """
    if not _is_number(depth) or not 0 < depth <= 1:
        raise ValueError(f"`depth` must be in (0, 1]. Received: depth={depth!r}")
    if depth == 1:
        return []
    blocks = find_blocks(channel_groups(model).graph)
    if not blocks:
        raise ValueError(
            f"'{model.name}' has no residual blocks that can be removed: branches whose result is "
            f"added to their input. Omit `depth`. Received: depth={depth}"
        )
    return select_blocks(blocks, depth)


def _score_channels(
    model: keras.Model,
    found: ChannelGroups,
    importance: str,
    seed: int,
    training: Mapping[str, Any],
) -> dict[int, float]:
    """Return how important each channel is."""
    if importance == "taylor":
        return taylor_scores(model, found, Training(**training))
    return magnitude_scores(found) if importance == "magnitude" else random_scores(found, seed)


def _size_of(model: keras.Model, graph: Graph) -> ModelSize:
    """Return the size of a model without any removal."""
    return predict_size(graph, model.weights, lambda variable: tuple(variable.shape))


def _check(
    ratio: Any,
    budgets: Mapping[str, int],
    importance: str,
    data: Any,
    training: Mapping[str, Any],
) -> None:
    if len(budgets) + (ratio is not None) > 1:
        received = {**budgets, **({} if ratio is None else {"ratio": ratio})}
        raise ValueError(
            "Pass a `ratio` or one budget (`max_parameters`, `max_macs`, or `max_bytes`). "
            f"Received: {received}"
        )
    shares = list(ratio.values()) if isinstance(ratio, Mapping) else [1 if ratio is None else ratio]
    if not all(_is_number(share) and 0 < share <= 1 for share in shares):
        raise ValueError(f"`ratio` must be in (0, 1]. Received: ratio={ratio!r}")
    for name, value in budgets.items():
        if not _is_number(value) or value < 1:
            raise ValueError(f"`{name}` must be a number of at least 1. Received: {name}={value!r}")
    if importance not in IMPORTANCES:
        raise ValueError(
            f"`importance` must be one of {IMPORTANCES}. Received: importance={importance!r}"
        )
    if (importance == "taylor") != (data is not None):
        raise ValueError(
            "importance='taylor' needs `data`, and the others need none. Received: "
            f"importance={importance!r}, data={type(data).__name__}"
        )
    if training and importance != "taylor":
        raise ValueError(
            f"{sorted(training)} are for importance='taylor'. Received: importance={importance!r}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _without_skipped(model: keras.Model, found: ChannelGroups, skip: Any) -> list[ChannelGroup]:
    """Return the groups that no skipped layer makes."""
    names = set(resolve_skip(skip, model, found.graph.calls))
    # The layers of a `Bidirectional` are no calls of the graph.
    return [
        group
        for group in found.groups
        if not any(maker in names or maker.rpartition("/")[0] in names for maker in group.makers)
    ]


def _check_names(ratio: Any, groups: Sequence[ChannelGroup]) -> None:
    """Reject shares of groups that do not exist.

    Raises:
        ValueError: If there are some.
    """
    names = [group.name for group in groups]
    unknown = sorted(set(ratio) - set(names)) if isinstance(ratio, Mapping) else []
    if unknown:
        raise ValueError(f"`ratio` must be by the groups {names}. Received: also {unknown}")


def count_remaining(group: ChannelGroup, share: float | Mapping[str, float]) -> int:
    """Return how many channels of a group remain; `share` as the `ratio` of `shrink`."""
    if isinstance(share, Mapping):
        share = share.get(group.name, 1.0)
    # Not one more because of rounding: 0.7 · 10 is 7.000000000000001.
    return max(1, math.ceil(round(share * len(group), 9)))


def select_units(
    groups: Sequence[ChannelGroup],
    scores: Mapping[int, float],
    share: float | Mapping[str, float],
) -> list[int]:
    """Return the units to remove: the least important ones of each group."""
    removed = []
    for group in groups:
        ordered = sorted(group.units, key=lambda unit: (-scores.get(unit, 0.0), unit))
        removed += ordered[count_remaining(group, share) :]
    return removed


def _solve(plan_removal: Any, budgets: Mapping[str, int]) -> float:
    """Return the largest share of channels with which a budget is met.

    Raises:
        ValueError: If even one channel of each group is too much.
    """
    ((name, budget),) = budgets.items()

    def size(share: float) -> int:
        value = getattr(plan_removal(share)[1], _BUDGETS[name])
        if value is None:
            raise ValueError(
                f"`{name}` needs a model with known shapes: build it with a fixed input shape."
            )
        return value

    low, high = 0.0, 1.0
    if size(high) <= budget:
        return high
    if (smallest := size(low)) > budget:
        raise ValueError(
            f"`{name}` must be at least {smallest:,}: that is the size with one channel of each "
            f"group. Received: {name}={budget:,}. Start from a smaller model."
        )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= budget else (low, middle)
    return low
