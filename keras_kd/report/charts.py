"""Charts of a report as SVG. The style sheet of the page sets the colors, for dark mode too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from keras_kd.report.metrics import pareto_front

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44
_LETTER = 7.3  # Mean width of a letter of the labels, on a phone.
_BAR, _GAP = 8, 11
_COLORS = 8


class Point(NamedTuple):
    """A model in a scatter chart; its number selects the color, and its name may be beside it."""

    number: int
    name: str
    x: float
    y: float
    labeled: bool = True


class Curve(NamedTuple):
    """A curve of a model: values by epoch, or bins of the confidence."""

    number: int
    name: str
    values: Sequence[Any]
    is_training: bool = False


class Bar(NamedTuple):
    """A model in a group of bars."""

    number: int
    name: str
    value: float | None


def color_class(number: int) -> str:
    """Return the CSS class that sets the color of a model."""
    return f"m{number % _COLORS}"


def scatter(
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    lower_is_better: bool = False,
    limits: tuple[float | None, float | None] = (None, None),
) -> str:
    """Draw costs (x, logarithmic) against gains or errors (y) and mark the Pareto front.

    Args:
        points: The models.
        x_label: Name of the costs.
        y_label: Name of the gains or errors.
        lower_is_better: Whether y is an error. Defaults to `False`.
        limits: A cost and a gain that are drawn as lines, `None` for none. Defaults to none.
    """
    front = pareto_front([p.x for p in points], [-p.y if lower_is_better else p.y for p in points])
    x_limit, y_limit = ([] if limit is None else [limit] for limit in limits)
    x_scale = _Scale.logarithmic([*(p.x for p in points), *x_limit], _LEFT, _WIDTH - _RIGHT)
    y_scale = _Scale.linear([*(p.y for p in points), *y_limit], _HEIGHT - _BOTTOM, _TOP)
    places = [(x_scale(p.x), y_scale(p.y)) for p in points]
    path = " ".join(f"{places[i][0]:.1f},{places[i][1]:.1f}" for i in front)
    marks = [f'<polyline class="front" points="{path}"/>'] if len(front) > 1 else []
    for i, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        title = f"<title>{escape(point.name)}: {point.x:,.4g}, {point.y:.4g}</title>"
        ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="9"/>' if i in front else ""
        dot = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5.5">{title}</circle>'
        marks.append(f'<g class="{color_class(point.number)}">{ring}{dot}</g>')
    marks += [_limit_line(x_scale(x), x_scale(x), _TOP, _HEIGHT - _BOTTOM) for x in x_limit]
    marks += [_limit_line(_LEFT, _WIDTH - _RIGHT, y_scale(y), y_scale(y)) for y in y_limit]
    marks += _point_labels([p.name if p.labeled else "" for p in points], places)
    return _frame(x_scale, y_scale, x_label, y_label, "".join(marks))


def lines(curves: Sequence[Curve], y_label: str) -> str:
    """Draw curves over epochs; those of training data are thin."""
    longest = max(len(curve.values) for curve in curves)
    finite = [value for curve in curves for value in curve.values if math.isfinite(value)]
    x_scale = _Scale.linear([1, max(longest, 2)], _LEFT, _WIDTH - _RIGHT, tight=True, whole=True)
    y_scale = _Scale.linear(finite or [0, 1], _HEIGHT - _BOTTOM, _TOP)
    marks = []
    for curve in curves:
        path = " ".join(
            f"{x_scale(i):.1f},{y_scale(value):.1f}"
            for i, value in enumerate(curve.values, 1)
            if math.isfinite(value)
        )
        style = f"line{' faint' if curve.is_training else ''} {color_class(curve.number)}"
        title = f"<title>{escape(curve.name)}{', training' if curve.is_training else ''}</title>"
        marks.append(f'<polyline class="{style}" points="{path}">{title}</polyline>')
    return _frame(x_scale, y_scale, "epoch", y_label, "".join(marks))


def calibration(curves: Sequence[Curve]) -> str:
    """Draw the accuracy of each bin against its mean confidence, both in percent.

    The values of a curve are (samples, confidence, accuracy). The area of a point shows the share
    of the samples; the diagonal is perfect calibration.
    """
    lowest = min(min(bin_[1:]) for curve in curves for bin_ in curve.values)
    low = 10 * math.floor(10 * lowest)
    x_scale = _Scale.linear([low, 100], _LEFT, _WIDTH - _RIGHT, tight=True)
    y_scale = _Scale.linear([low, 100], _HEIGHT - _BOTTOM, _TOP, tight=True)
    marks = [
        f'<line class="front" x1="{x_scale.start:.1f}" y1="{y_scale.start:.1f}" '
        f'x2="{x_scale.end:.1f}" y2="{y_scale.end:.1f}"/>'
    ]
    for curve in curves:
        total = sum(samples for samples, *_ in curve.values)
        places = [
            (x_scale(100 * x), y_scale(100 * y), 2 + 8 * math.sqrt(samples / total))
            for samples, x, y in curve.values
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        dots = "".join(
            f'<circle class="dot bin" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
            for x, y, radius in places
        )
        marks.append(
            f'<g class="{color_class(curve.number)}"><polyline class="line faint" points="{path}">'
            f"<title>{escape(curve.name)}</title></polyline>{dots}</g>"
        )
    return _frame(x_scale, y_scale, "mean confidence, %", "accuracy, %", "".join(marks))


def bars(groups: Sequence[tuple[str, Sequence[Bar]]], label: str) -> str:
    """Draw a group of horizontal bars per class, one below the other."""
    per_group = len(groups[0][1]) * _BAR + _GAP
    left = min(max((len(name) for name, _ in groups), default=1) * _LETTER + 14, 130)
    height = _TOP + per_group * len(groups) + _BOTTOM
    bottom = height - _BOTTOM
    values = [bar.value for _, group in groups for bar in group if bar.value is not None]
    scale = _Scale.linear([0, max(values, default=1) or 1], left, _WIDTH - _RIGHT, tight=True)
    parts = [_vertical_grid_line(scale(tick), bottom, _number(tick)) for tick in scale.ticks]
    for row, (name, group) in enumerate(groups):
        parts.append(_bar_group(name, group, _TOP + row * per_group + _GAP / 2, left, scale))
    parts.append(f'<line class="zero" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" y2="{bottom}"/>')
    parts.append(_axis_name(label, (left + _WIDTH - _RIGHT) / 2, height - 8))
    return _svg(height, "".join(parts), label)


@dataclass(frozen=True)
class _Scale:
    """Maps values to positions; `ticks` are the values with a grid line."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    @classmethod
    def linear(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        tight: bool = False,
        whole: bool = False,
    ) -> "_Scale":
        low, high = min(values), max(values)
        margin = 0 if tight else (high - low or abs(high) or 1) * 0.12
        low, high = low - margin, high + margin
        step = max(_step((high - low) / 7), 1 if whole else 0)
        first = math.ceil(low / step - 1e-9)
        ticks = tuple(step * i for i in range(first, math.floor(high / step + 1e-9) + 1))
        return cls(low, high, start, end, ticks)

    @classmethod
    def logarithmic(cls, values: Sequence[float], start: float, end: float) -> "_Scale":
        low, high = math.log10(min(values)), math.log10(max(values))
        margin = max((high - low) * 0.12, 0.15)
        low, high = low - margin, high + margin
        factors = (1,) if high - low > 2.2 else (1, 2, 5)
        ticks = (
            factor * 10.0**power
            for power in range(math.floor(low), math.ceil(high) + 1)
            for factor in factors
        )
        inside = tuple(tick for tick in ticks if low <= math.log10(tick) <= high)
        return cls(low, high, start, end, inside, True)

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.is_log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _step(rough: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.0e}"
    return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:.0e}"


def _frame(x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str, marks: str) -> str:
    """Draw axes around marks."""
    bottom = _HEIGHT - _BOTTOM
    parts = [_vertical_grid_line(x_scale(tick), bottom, _number(tick)) for tick in x_scale.ticks]
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


def _vertical_grid_line(x: float, bottom: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{text}</text>'
    )


def _limit_line(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="limit" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _bar_group(name: str, group: Sequence[Bar], top: float, left: float, scale: _Scale) -> str:
    """Draw the name and the bars of one class."""
    middle = top + len(group) * _BAR / 2 + 4
    shown = name if len(name) * _LETTER < 118 else f"{name[:16]}…"
    parts = [
        f'<text class="name" text-anchor="end" x="{left - 8:.1f}" y="{middle:.1f}">'
        f"{escape(shown)}</text>"
    ]
    parts += [
        f'<rect class="bar {color_class(bar.number)}" x="{left:.1f}" y="{top + i * _BAR:.1f}" '
        f'width="{scale(bar.value) - left:.1f}" height="{_BAR - 1.5}" rx="1.5">'
        f"<title>{escape(name)}, {escape(bar.name)}: {bar.value:.2f}</title></rect>"
        for i, bar in enumerate(group)
        if bar.value
    ]
    return "".join(parts)


def _point_labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Draw a name beside each point that has room for it; colors identify the others."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    texts = []
    for name, (x, y) in zip(names, places, strict=True):
        if not name:
            continue
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


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _axis_name(label: str, x: float, y: float) -> str:
    return f'<text class="axis" text-anchor="middle" x="{x:.1f}" y="{y:.1f}">{escape(label)}</text>'


def _svg(height: float, content: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{content}</svg>"
    )
