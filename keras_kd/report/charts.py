"""The charts of a report, as SVG: drawn here, coloured by the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from keras_kd.report.metrics import pareto

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44
_LETTER = 7.3  # The mean width of a letter of the labels, on a phone.


@dataclass(frozen=True)
class Point:
    """A model in a chart: its number among the models, name, cost and gain."""

    number: int
    name: str
    x: float
    y: float


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Draws costs against gains, the costs on a logarithmic scale, and marks the Pareto front.

    Args:
        points: The models.
        x_label: What the costs are.
        y_label: What the gains are.
    """
    front = pareto([p.x for p in points], [p.y for p in points])
    x_scale = _Scale.logarithmic([p.x for p in points], _LEFT, _WIDTH - _RIGHT)
    y_scale = _Scale.linear([p.y for p in points], _HEIGHT - _BOTTOM, _TOP)
    places = [(x_scale(p.x), y_scale(p.y)) for p in points]
    path = " ".join(f"{places[i][0]:.1f},{places[i][1]:.1f}" for i in front)
    marks = [f'<polyline class="front" points="{path}"/>'] if len(front) > 1 else []
    for i, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        title = f"<title>{escape(point.name)}: {point.x:,.4g}, {point.y:.2f}</title>"
        ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="9"/>' if i in front else ""
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5.5">{title}</circle>'
        marks.append(f'<g class="m{point.number % 8}">{ring}{dot}</g>')
    marks += _labels([p.name for p in points], places)
    return _frame(x_scale, y_scale, x_label, y_label, "".join(marks))


def lines(curves: Sequence[tuple[int, str, Sequence[float], bool]], y_label: str) -> str:
    """Draws curves over epochs.

    Args:
        curves: Of each the model's number, its name, its values and whether it is of training data.
        y_label: What the values are.
    """
    longest = max(len(values) for _, _, values, _ in curves)
    finite = [v for _, _, values, _ in curves for v in values if math.isfinite(v)]
    x_scale = _Scale.linear([1, max(longest, 2)], _LEFT, _WIDTH - _RIGHT, tight=True)
    y_scale = _Scale.linear(finite or [0, 1], _HEIGHT - _BOTTOM, _TOP)
    marks = []
    for number, name, values, training in curves:
        path = " ".join(
            f"{x_scale(i):.1f},{y_scale(value):.1f}"
            for i, value in enumerate(values, 1)
            if math.isfinite(value)
        )
        kind = "line faint" if training else "line"
        title = f"<title>{escape(name)}{', training' if training else ''}</title>"
        marks.append(f'<polyline class="{kind} m{number % 8}" points="{path}">{title}</polyline>')
    return _frame(x_scale, y_scale, "epoch", y_label, "".join(marks))


def bars(groups: Sequence[tuple[str, Sequence[tuple[int, str, float | None]]]], label: str) -> str:
    """Draws a group of bars for each class, one below the other.

    Args:
        groups: Of each class its name, and of each model its number, name and value.
        label: What the values are.
    """
    thick, gap = 8, 11
    per_group = len(groups[0][1]) * thick + gap
    left = min(max((len(name) for name, _ in groups), default=1) * _LETTER + 14, 130)
    height = _TOP + per_group * len(groups) + _BOTTOM
    values = [value for _, members in groups for _, _, value in members if value is not None]
    scale = _Scale.linear([0, max(values, default=1) or 1], left, _WIDTH - _RIGHT, tight=True)
    parts = [
        f'<line class="grid" x1="{scale(t):.1f}" x2="{scale(t):.1f}" y1="{_TOP}" '
        f'y2="{height - _BOTTOM}"/><text class="tick" text-anchor="middle" x="{scale(t):.1f}" '
        f'y="{height - _BOTTOM + 16}">{_number(t)}</text>'
        for t in scale.ticks
    ]
    for row, (name, members) in enumerate(groups):
        top = _TOP + row * per_group + gap / 2
        middle = top + len(members) * thick / 2 + 4
        shown = name if len(name) * _LETTER < 118 else f"{name[:16]}…"
        parts.append(
            f'<text class="name" text-anchor="end" x="{left - 8:.1f}" y="{middle:.1f}">'
            f"{escape(shown)}</text>"
        )
        for i, (number, model, value) in enumerate(members):
            if not value:
                continue
            width = scale(value) - left
            parts.append(
                f'<rect class="bar m{number % 8}" x="{left:.1f}" y="{top + i * thick:.1f}" '
                f'width="{width:.1f}" height="{thick - 1.5}" rx="1.5">'
                f"<title>{escape(name)}, {escape(model)}: {value:.2f}</title></rect>"
            )
    parts.append(
        f'<line class="zero" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
    )
    parts.append(_axis_name(label, (left + _WIDTH - _RIGHT) / 2, height - 8))
    return _svg(height, "".join(parts), label)


@dataclass(frozen=True)
class _Scale:
    """From values to places on the paper, and the values that are marked."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    @classmethod
    def linear(
        cls, values: Sequence[float], start: float, end: float, tight: bool = False
    ) -> "_Scale":
        low, high = min(values), max(values)
        margin = 0 if tight else (high - low or abs(high) or 1) * 0.12
        low, high = low - margin, high + margin
        step = _step((high - low) / 7)
        first = math.ceil(low / step - 1e-9)
        ticks = tuple(step * i for i in range(first, math.floor(high / step + 1e-9) + 1))
        return cls(low, high, start, end, ticks)

    @classmethod
    def logarithmic(cls, values: Sequence[float], start: float, end: float) -> "_Scale":
        low, high = math.log10(min(values)), math.log10(max(values))
        margin = max((high - low) * 0.12, 0.15)
        low, high = low - margin, high + margin
        many = high - low > 2.2
        ticks = [
            factor * 10.0**power
            for power in range(math.floor(low), math.ceil(high) + 1)
            for factor in ((1,) if many else (1, 2, 5))
        ]
        inside = tuple(t for t in ticks if low <= math.log10(t) <= high)
        return cls(low, high, start, end, inside, True)

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.is_log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _step(rough: float) -> float:
    """Returns the next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.0e}"
    return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:.0e}"


def _frame(x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str, marks: str) -> str:
    """Puts axes around marks."""
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for tick in x_scale.ticks:
        x = x_scale(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">'
            f"{_number(tick)}</text>"
        )
    for tick in y_scale.ticks:
        y = y_scale(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" text-anchor="end" x="{_LEFT - 7}" y="{y + 4:.1f}">'
            f"{_number(round(tick, 10))}</text>"
        )
    middle = (_TOP + bottom) / 2
    parts.append(_axis_name(x_label, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8))
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(13 {middle}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return _svg(_HEIGHT, "".join(parts) + marks, f"{y_label} against {x_label}")


def _labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Puts a name beside each point where there is room; the colours tell the others."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    texts = []
    for name, (x, y) in zip(names, places, strict=True):
        width = len(name) * _LETTER
        for anchor, left, base in (
            ("start", x + 12, y + 4),
            ("end", x - 12 - width, y + 4),
            ("middle", x - width / 2, y - 14),
            ("middle", x - width / 2, y + 22),
        ):
            box = (left, base - 11, left + width, base + 3)
            inside = box[0] > _LEFT and box[2] < _WIDTH - 2 and box[3] < _HEIGHT - _BOTTOM
            if inside and box[1] > 0 and not any(_overlap(box, other) for other in taken):
                at = {"start": left, "end": left + width, "middle": left + width / 2}[anchor]
                texts.append(
                    f'<text class="name" text-anchor="{anchor}" x="{at:.1f}" y="{base:.1f}">'
                    f"{escape(name)}</text>"
                )
                taken.append(box)
                break
    return texts


def _overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _axis_name(label: str, x: float, y: float) -> str:
    return f'<text class="axis" text-anchor="middle" x="{x:.1f}" y="{y:.1f}">{escape(label)}</text>'


def _svg(height: float, content: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{content}</svg>"
    )
