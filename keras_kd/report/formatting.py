"""Numbers in words that people read: per cent, kilobytes, microseconds."""


def percent(share: float | None, digits: int = 2) -> str:
    """Returns a share as per cent."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def points(share: float | None) -> str:
    """Returns a difference of shares in percentage points, with its sign."""
    if share is None:
        return "–"
    return "±0.00" if abs(share) < 5e-5 else f"{100 * share:+.2f}".replace("-", "−")


def decimal(value: float | None, digits: int = 4) -> str:
    """Returns a number with so many digits behind the point."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """Returns a number of things, in thousands or millions where there are many."""
    if value is None:
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            scaled = value / (1e3 if unit == " k" else size)
            return f"{scaled:.{1 if scaled < 100 else 0}f}{unit}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Returns bytes in kB or MB."""
    if value is None:
        return "–"
    if value >= 1e6:
        return f"{value / 1e6:.2f} MB"
    return f"{value / 1e3:.1f} kB"


def duration(value: float | None) -> str:
    """Returns microseconds, or milliseconds where they are many."""
    if value is None:
        return "–"
    if value >= 1e4:
        return f"{value / 1e3:.1f} ms"
    return f"{value:.0f} µs" if value >= 100 else f"{value:.1f} µs"


def times(ratio: float) -> str:
    """Returns a ratio, such as "31×"."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"
