"""Sizes, durations and counts with units, such as `60kB`, `5ms` and `2M`."""

import argparse
import math
import re

_SIZES = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "kib": 2**10, "mib": 2**20}
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1e3, "s": 1e6}
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}
_COUNTS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


def size(text: str) -> int:
    """Parse a number of bytes: `60kB`, `1.5MB`, `64KiB` or `60000`."""
    return round(_parse(text, _SIZES, "a size such as 60kB or 1.5MB"))


def latency(text: str) -> float:
    """Parse a duration as microseconds: `800us` or `5ms`."""
    return _parse(text, _MICROSECONDS, "a duration such as 800us or 5ms")


def duration(text: str) -> float:
    """Parse a duration as seconds: `90`, `30min` or `1h`."""
    return _parse(text, _SECONDS, "a duration such as 90s, 30min or 1h")


def count(text: str) -> int:
    """Parse a number: `2M`, `500k` or `500000`."""
    return round(_parse(text, _COUNTS, "a number such as 500k or 2M"))


def _parse(text: str, units: dict[str, float], expected: str) -> float:
    match = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([a-zµ]*)\s*", text.lower())
    unit = units.get(match[2]) if match else None
    try:
        value = float(match[1]) * unit if unit else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected {expected}, not {text}")
    return value
