"""Which trainings a search runs, and which of them go on. Pure functions of earlier results."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

#: Of the trainings of a stage, one in this many goes on.
REDUCTION = 3
#: The steps of a training in each stage, as a part of those of a full one.
_PARTS = (1 / 12, 1 / 4)


@dataclass(frozen=True)
class Config:
    """What a training depends on, beside the data and the number of steps.

    Attributes:
        family: How the student is made; see `Students`.
        limits: The largest predicted `int8_bytes` and `macs` of a shrunk student.
        loss: The name of the distillation loss.
        rate: The initial learning rate.
        augmentation: What happens to images: a name in `AUGMENTATIONS`.
        params: What a builder of the user's suggested, by name.
    """

    family: str
    limits: Mapping[str, float]
    loss: str
    rate: float
    augmentation: str = "none"
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slot:
    """One training of the search, whoever runs it and however often it is tried.

    Attributes:
        name: Its only name, such as `"1-03"`: the stage and the number in it.
        config: What is trained.
        part: The part of the steps of a full training.
        final: Whether files are written after it.
        seed: Seed of this training.
    """

    name: str
    config: Config
    part: float
    final: bool
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Slot":
        """Return the slot of such a dictionary."""
        return cls(**{**values, "config": Config(**values["config"])})


@dataclass(frozen=True)
class Result:
    """The result of a training.

    Attributes:
        slot: What was trained.
        score: Accuracy on the validation data, or R² of numbers; minus infinity for a failure.
        met: Whether a file of it is within all limits.
        values: Everything else, as JSON types.
    """

    slot: Slot
    score: float
    met: bool
    values: Mapping[str, Any]


class Schedule(Protocol):
    """Says what to train next."""

    def next(self, stages: Sequence[Sequence[Result]]) -> list[Slot]:
        """Return the trainings after the finished stages; none if the search is finished."""
        ...

    @property
    def cost(self) -> float:
        """The expected number of full trainings."""
        ...


@dataclass(frozen=True)
class Halving:
    """Successive halving: many short trainings, fewer longer ones, and the best ones in full.

    Attributes:
        configs: What is trained in the first stage.
        seed: Seed of the search.
    """

    configs: Sequence[Config]
    seed: int = 0

    @property
    def counts(self) -> list[int]:
        """The number of trainings in each stage; the last one is full."""
        first = len(self.configs)
        second = math.ceil(first / REDUCTION)
        finalists = min(2, math.ceil(second / 2))
        counts = [first, second, finalists]
        return counts[-1:] if first == 1 else counts[::2] if first < 6 else counts

    @property
    def cost(self) -> float:
        """The expected number of full trainings."""
        return sum(n * p for n, p in zip(self.counts, self._parts, strict=True))

    @property
    def _parts(self) -> tuple[float, ...]:
        return (*_PARTS[: len(self.counts) - 1], 1.0)

    def next(self, stages: Sequence[Sequence[Result]]) -> list[Slot]:
        """Return the next stage."""
        stage = len(stages)
        if stage == len(self.counts):
            return []
        configs = list(self.configs)[: self.counts[0]] if stage == 0 else _best(stages[-1])
        count, part = self.counts[stage], self._parts[stage]
        return make_slots(str(stage), configs[:count], part, self.seed, part == 1)


@dataclass(frozen=True)
class Descent:
    """The smallest student within a drop: a search at one size, then a bisection over the sizes.

    Attributes:
        search: The search at the middle size, of which the full trainings are omitted.
        sizes: The limits to try, by decreasing size.
        own: Families of a fixed size, which are trained in full at the end.
    """

    search: Halving
    sizes: Sequence[Mapping[str, float]]
    own: Sequence[str] = ()

    @property
    def cost(self) -> float:
        """The expected number of full trainings."""
        finalists = self.search.counts[-1]
        steps = math.ceil(math.log2(len(self.sizes) + 1))
        return self.search.cost - finalists + steps + len(self.own)

    def next(self, stages: Sequence[Sequence[Result]]) -> list[Slot]:
        """Return the next stage."""
        searched = len(self.search.counts) - 1
        if len(stages) < searched:
            return self.search.next(stages)
        best = _best(stages[searched - 1])[0] if searched else self.search.configs[0]
        # The drop grows as the size falls: `low` is within it, `high` is not.
        low, high = -1, len(self.sizes)
        for first, *_ in stages[searched:]:
            if first.slot.config.family in self.own:
                return []
            at = self.sizes.index(first.slot.config.limits)
            low, high = (at, high) if first.met else (low, at)
        if high - low > 1:
            configs = [replace(best, limits=self.sizes[(low + high) // 2])]
        else:
            configs = [replace(best, family=family, limits={}, params={}) for family in self.own]
        return make_slots(str(len(stages)), configs, 1.0, self.search.seed, True)


def make_slots(
    stage: str, configs: Sequence[Config], part: float, seed: int, final: bool
) -> list[Slot]:
    """Return the slots of a stage, each with its own seed."""
    slots = []
    for i, config in enumerate(configs):
        name = f"{stage}-{i:02}"
        slots.append(Slot(name, config, part, final, zlib.crc32(f"{seed} {name}".encode()) >> 1))
    return slots


def rank(results: Sequence[Result]) -> list[Result]:
    """Return the results by decreasing score; equal ones in the order of their names."""
    return sorted(results, key=lambda result: (-result.score, result.slot.name))


def _best(results: Sequence[Result]) -> list[Config]:
    """Return what was trained, best first; what a builder suggested stays."""
    return [
        replace(result.slot.config, params=result.values.get("params", {}))
        for result in rank(results)
    ]


@dataclass(frozen=True)
class Once:
    """One final training, such as that of the best student so far when the time is over.

    Attributes:
        stage: The name of the stage.
        config: What is trained.
        part: The part of the steps of a full training.
        seed: Seed of the search.
    """

    stage: str
    config: Config
    part: float
    seed: int = 0

    @property
    def cost(self) -> float:
        """The expected number of full trainings."""
        return self.part

    def next(self, stages: Sequence[Sequence[Result]]) -> list[Slot]:
        """Return the training, if it is not finished."""
        return [] if stages else make_slots(self.stage, [self.config], self.part, self.seed, True)
