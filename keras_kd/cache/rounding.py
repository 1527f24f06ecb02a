"""The rounding of stored values, compared with the spread of the values."""

from typing import Any

import numpy as np

from keras_kd.cache.schema import StoredTap
from keras_kd.models.taps import Tap
from keras_kd.models.user_warnings import warn_user
from keras_kd.teachers.knowledge import CacheError

#: Number of rows after which the spread is known well enough to stop a build.
_ENOUGH_ROWS = 256
#: The largest rounding error that does not matter, as a fraction of the spread of the values.
_LARGEST_ERROR = 0.01
#: The same of a single unit of logits, whose spread may be small by nature: a warning.
_LARGEST_UNIT_ERROR = 0.05


def rounding_moments(
    values: np.ndarray, kept: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Compute what `RoundingCheck.add` takes.

    Args:
        values: (batch, ..., units), what a teacher returned.
        kept: The same values in the stored dtype.

    Returns:
        The number of rows, and for each unit the mean, the squared deviations from it and the
        squared rounding errors, summed: a scalar and three times (units,), in float64.
    """
    units = values.shape[-1] if values.ndim > 1 else 1
    values, kept = (part.reshape(-1, units).astype("float64") for part in (values, kept))
    mean = values.mean(axis=0)
    deviations = np.square(values - mean).sum(axis=0)
    errors = np.square(values - kept).sum(axis=0)
    return float(len(values)), mean, deviations, errors


class RoundingCheck:
    """Rounding errors of one tap against the spread of its values, over all batches so far.

    The spread of a unit is its standard deviation over samples and positions. A float16 has 11
    significant bits, so numbers near 40,000 are rounded to multiples of 32: if they differ by a
    few, nothing is left of their differences.

    Args:
        teacher: The teacher's name, for messages.
        tap: The tap.
        dtype: The dtype of the stored values.
    """

    def __init__(self, teacher: str, tap: StoredTap, dtype: str) -> None:
        self._where = f"teacher '{teacher}' at {Tap(tap.name)}"
        self._hidden = tap.serves == "values"
        self._numbers = tap.activation == "values"
        self._dtype = dtype
        #: The spread of a constant, relative to its value, as the teacher computes it.
        self._noise = 1e-12 if tap.dtype == "float64" else 1e-6
        self._rows = 0.0
        self._mean = self._deviations = self._errors = np.zeros(1)

    def add(self, rows: Any, mean: Any, deviations: Any, errors: Any) -> None:
        """Add a batch, and check it once there are enough rows.

        Raises:
            CacheError: If rounding matters.
        """
        rows, mean = float(rows), np.asarray(mean)
        total = self._rows + rows
        # Chan's formula: the squares of large numbers would lose their differences.
        shift = (mean - self._mean) ** 2 * self._rows * rows / max(total, 1.0)
        self._deviations = self._deviations + np.asarray(deviations) + shift
        self._mean = self._mean + (mean - self._mean) * rows / max(total, 1.0)
        self._errors = self._errors + np.asarray(errors)
        self._rows = total
        if total >= _ENOUGH_ROWS:
            self.check()

    def check(self) -> None:
        """Check all rows so far.

        Raises:
            CacheError: If rounding matters; for a unit of an output that may be logits, only all
                units together count.
        """
        spread, errors, ratios = self._ratios()
        whole = _norm(errors) > _LARGEST_ERROR * _norm(spread)
        if whole or (self._numbers and (ratios > _LARGEST_ERROR).any()):
            raise CacheError(f"KnowledgeCache: {self._describe(spread, errors, ratios)}")

    def warn(self) -> None:
        """Warn of single units of logits for which rounding matters."""
        spread, errors, ratios = self._ratios()
        if not self._hidden and (ratios > _LARGEST_UNIT_ERROR).any():
            warn_user(
                f"KnowledgeCache: {self._describe(spread, errors, ratios)} That matters if this "
                "unit is a number (regression), and does not if it is a class that never occurs."
            )

    def _ratios(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the spread of each unit, its rounding error, and the ratio of the two.

        All are 0 for a constant, which has no differences that could be lost.
        """
        rows = max(self._rows, 1.0)
        spread, errors = np.sqrt(self._deviations / rows), np.sqrt(self._errors / rows)
        varies = spread > self._noise * np.abs(self._mean)
        spread, errors = np.where(varies, spread, 0.0), np.where(varies, errors, 0.0)
        return spread, errors, errors / np.where(varies, spread, 1.0)

    def _describe(self, spread: np.ndarray, errors: np.ndarray, ratios: np.ndarray) -> str:
        worst = int(np.argmax(ratios))
        more = (
            "Pass dtype='float32'."
            if self._dtype == "float16"
            else "Let the teacher return their differences from a constant."
        )
        return (
            f"{self._where} returns values near {self._mean[worst]:.6g} that differ by "
            f"{spread[worst]:.3g} (unit {worst}), and {self._dtype} rounds them by "
            f"{errors[worst]:.3g}. {more}"
        )


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))
