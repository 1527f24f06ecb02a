"""What must be finite: a batch, and the teacher outputs for it."""

from collections.abc import Sequence
from typing import Any

from keras_kd.training.labels import Labels

#: What to do with a bad batch.
ON_BAD_BATCH = ("raise", "skip")


def batch_values(x: Any, labels: Labels | None, sample_weight: Any) -> dict[str, Any]:
    """Return the values of a batch for `finite_assertions`.

    Missing labels have been replaced. What is NaN still is part of a row that cannot lack a part.
    """
    return {
        "The batch has NaN or infinite values in its inputs.": x,
        "The batch has NaN or infinite values in its labels. (A row of NaN is a sample without a "
        "label. A row that is NaN in part needs a loss that is a mean over the row, such as "
        "keras.losses.BinaryCrossentropy.)": [one.filled for one in labels.outputs.values()]
        if labels
        else None,
        "The batch has NaN or infinite values in its sample weights.": sample_weight,
    }


def teacher_values(names: Sequence[str], outputs: Sequence[Any]) -> dict[str, Any]:
    """Return the outputs of teachers for `finite_assertions`."""
    named = zip(names, outputs, strict=False)
    return {f"Teacher '{name}' gave NaN or infinite values.": values for name, values in named}
