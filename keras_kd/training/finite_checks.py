"""What must be finite: a batch, and the teacher outputs for it."""

from collections.abc import Sequence
from typing import Any

from keras_kd.training import backend
from keras_kd.training.labels import replace_missing

#: What to do with a bad batch.
ON_BAD_BATCH = ("raise", "skip")


def batch_values(x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Return the values of a batch for `finite_assertions`; a NaN label means "no label"."""
    labels = [replace_missing(part, 0) for part in backend.floating_parts(y)]
    return {
        "The batch has NaN or infinite values in its inputs.": x,
        "The batch has NaN or infinite values in its labels.": labels,
        "The batch has NaN or infinite values in its sample weights.": sample_weight,
    }


def teacher_values(names: Sequence[str], outputs: Sequence[Any]) -> dict[str, Any]:
    """Return the outputs of teachers for `finite_assertions`."""
    named = zip(names, outputs, strict=False)
    return {f"Teacher '{name}' gave NaN or infinite values.": values for name, values in named}
