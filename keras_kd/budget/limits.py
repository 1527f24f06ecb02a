"""The limits of a file, and how far one is from them."""

import numbers
from dataclasses import asdict, dataclass
from typing import Any

from keras_kd.report import formatting

#: Points of accuracy by which a file that needs no training may be below the teacher, and on which
#: the decision for quantization-aware training rests, if there is no `max_drop`.
DEFAULT_DROP = 1.0


@dataclass(frozen=True)
class Limits:
    """The largest size, latency, number of multiplications and drop in accuracy of a file.

    Attributes:
        max_bytes: Bytes of the file; `None` for any.
        max_latency_us: Microseconds of a run, as `kd.export.benchmark` measures it.
        max_macs: Multiply-accumulate operations of a run.
        max_drop: Points of accuracy below the teacher.

    Raises:
        ValueError: If there is none, or one is not a positive number.
    """

    max_bytes: float | None = None
    max_latency_us: float | None = None
    max_macs: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if not given:
            raise ValueError(
                "Pass at least one limit: max_bytes, max_latency_us, max_macs or max_drop"
            )
        for name, value in given.items():
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number or not (value > 0 or (name == "max_drop" and value == 0)):
                raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")

    @property
    def has_cost(self) -> bool:
        """Whether there is a limit other than that of the drop."""
        return any(limit is not None for limit in self.costs.values())

    @property
    def drop(self) -> float:
        """The limit of the drop, or the default."""
        return DEFAULT_DROP if self.max_drop is None else self.max_drop

    @property
    def costs(self) -> dict[str, float | None]:
        """The limits of costs, by the name of a file's attribute."""
        return {"size": self.max_bytes, "latency_us": self.max_latency_us, "macs": self.max_macs}

    def excess(self, costs: dict[str, Any]) -> float:
        """Return the largest cost as a multiple of its limit; at most 1 is within all limits."""
        ratios = [
            costs[name] / limit
            for name, limit in self.costs.items()
            if limit is not None and costs.get(name) is not None
        ]
        return max(ratios, default=0.0)

    def __str__(self) -> str:
        parts = []
        if self.max_bytes is not None:
            parts.append(f"{formatting.size(self.max_bytes)}")
        if self.max_latency_us is not None:
            parts.append(formatting.duration(self.max_latency_us))
        if self.max_macs is not None:
            parts.append(f"{self.max_macs:,.0f} MACs")
        if self.max_drop is not None:
            parts.append(f"a drop of {self.max_drop:g} points")
        return ", ".join(parts)
