"""The proof of an export: the file through LiteRT beside the Keras model, on real samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.export.evaluation import score
from keras_kd.export.metadata import Description
from keras_kd.export.scores import Evaluation
from keras_kd.files import atomic_write
from keras_kd.litert.flatbuffer import flex_ops
from keras_kd.litert.interpreter import LiteRT

# By quantization, how far outputs without labels may be off: for those that nothing is rounded in,
# whatever the samples are.
_TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
_MIXED, _ROUNDED = 5e-2, 0.5
_BATCH = 128


class VerificationError(RuntimeError):
    """A file that answers otherwise than the model that it was made of.

    Attributes:
        path: Where the file is kept, under a name that says that it was rejected.
        verification: What it scored.
        reason: In what it differs.
    """

    def __init__(self, message: str, path: Path, verification: Evaluation, reason: str) -> None:
        super().__init__(message)
        self.path = path
        self.verification = verification
        self.reason = reason


@dataclass(frozen=True)
class Proof:
    """What a file has to show.

    Attributes:
        data: A `tf.data.Dataset` of batches, or arrays; `None` for none.
        samples: How many samples to take at most.
        made_up: Samples that stand in where there are none.
        max_drop: Points of accuracy that an output with labels may lose.
        tolerance: Relative difference that another output may have; `None` for what is usual.
    """

    data: Any
    samples: int
    made_up: Any
    max_drop: float
    tolerance: float | None

    def of(
        self, content: bytes, about: Description, model: keras.Model, path: Path
    ) -> Evaluation | None:
        """Runs a file beside its model.

        Args:
            content: The file's content.
            about: What it says of itself.
            model: The Keras model.
            path: Where the file is meant to go.

        Returns:
            What the first signature scored, `None` without samples.

        Raises:
            VerificationError: If it is too far off.
            RuntimeError: If LiteRT does not run it.
        """
        if flex_ops(content):
            return None  # Nothing here runs it.
        found = []
        for key in about.outputs:
            source = f"the conversion of '{model.name}'"
            with LiteRT(content, source, inputs=about.inputs, signature=key) as runner:
                data = self.made_up if self.data is None else self.data
                # Labels that are none of an output's classes are left out.
                batches = _first(data, self.samples)
                found.append(score(runner, about, batches, model, doubtful=True))
            # A model of mixed precision rounds where its file does not.
            mixed = any(layer.compute_dtype != "float32" for layer in model._flatten_layers())
            wrong = self._complaint(found[-1], about.quantization, mixed)
            if wrong:
                raise _rejected(wrong, content, path, found[-1])
        return None if self.data is None else found[0]

    def _complaint(self, scores: Evaluation, quantization: str, mixed: bool) -> str | None:
        """Says what is wrong with a file, or nothing."""
        limit = self.tolerance
        if limit is None:
            limit = _TOLERANCES.get(quantization, _ROUNDED)
            limit = max(limit, _MIXED) if mixed else limit
        if self.data is None and quantization not in _TOLERANCES:
            return None  # Rounding depends on the samples.
        for name, found in scores.outputs.items():
            # Comparisons with NaN are false, so they stand the other way round.
            if found.drop is not None:
                if not found.drop <= self.max_drop:
                    return (
                        f"output '{name}' loses {found.drop:.2f} points of accuracy "
                        f"({found.model_accuracy:.2%} to {found.accuracy:.2%}) on {scores.samples} "
                        f"samples, more than max_drop={self.max_drop:g}"
                    )
            elif found.relative_difference is not None and not found.relative_difference <= limit:
                return (
                    f"output '{name}' is off by {found.relative_difference:.3g} of its standard "
                    f"deviation ({found.max_difference:.3g} at most, {found.agreement:.1%} same "
                    f"answers) on {scores.samples} samples, more than tolerance={limit:g}"
                )
        return None


def _rejected(wrong: str, content: bytes, path: Path, scores: Evaluation) -> VerificationError:
    """Keeps a file aside, and returns the error that names it."""
    aside = path.with_name(f"{path.stem}.rejected.tflite")
    with atomic_write(aside) as temporary:
        temporary.write_bytes(content)
    return VerificationError(
        f"Expected a file that answers as the Keras model does. Received: {wrong}. It is kept as "
        f"'{aside}'. Look at `kd.export.layer_errors`, calibrate with more samples, use another "
        "quantization, or allow more.",
        aside,
        scores,
        wrong,
    )


def _first(data: Any, limit: int) -> Iterator[Any]:
    """Yields batches of the first samples of some data."""
    for batch in data if isinstance(data, tf.data.Dataset) else [data]:
        size = len(tree.flatten(batch)[0])
        for start in range(0, min(size, limit), _BATCH):
            rows = slice(start, min(start + _BATCH, limit))
            yield tree.map_structure(lambda array, rows=rows: array[rows], batch)
        limit -= size
        if limit <= 0:
            return
