"""Format numbers for people: percentages, kilobytes, microseconds. `None` becomes a dash."""


def percent(share: float | None, digits: int = 2) -> str:
    """Format a share as a percentage."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def points(share: float) -> str:
    """Format a difference of shares in percentage points, with its sign."""
    return "±0.00" if abs(share) < 5e-5 else f"{100 * share:+.2f}".replace("-", "−")


def decimal(value: float | None, digits: int = 4) -> str:
    """Format a number with a fixed number of decimals."""
    return "–" if value is None else f"{value:.{digits}f}"


def significant(value: float | None, digits: int = 4) -> str:
    """Format a number of any size with a fixed number of significant digits."""
    return "–" if value is None else f"{value:,.{digits}g}"


def count(value: float | None) -> str:
    """Format a count, large ones in thousands (k), millions (M) or billions (G)."""
    if value is None:
        return "–"
    for threshold, unit, symbol in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= threshold:
            scaled = value / unit
            return f"{scaled:.{1 if scaled < 100 else 0}f} {symbol}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Format a number of bytes in kB or MB."""
    if value is None:
        return "–"
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def duration(value: float | None) -> str:
    """Format a number of microseconds, large ones in milliseconds."""
    if value is None:
        return "–"
    if value >= 1e4:
        return f"{value / 1e3:.1f} ms"
    return f"{value:.0f} µs" if value >= 100 else f"{value:.1f} µs"


def ratio(value: float) -> str:
    """Format a ratio, such as "31×"."""
    return f"{value:.0f}×" if value >= 10 else f"{value:.1f}×"
