"""Verify an exported file: run it with LiteRT and compare it with the Keras model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import tree

from keras_kd.export.evaluation import ScoreOptions, evaluate_runner
from keras_kd.export.metadata import Description
from keras_kd.export.scores import Evaluation
from keras_kd.files import atomic_write
from keras_kd.litert.flatbuffer import flex_ops
from keras_kd.litert.interpreter import LiteRT
from keras_kd.training.batches import as_batches, unpack_x_y

# Default tolerances of formats whose error does not depend on the samples, and of the others.
_TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
_MIXED_PRECISION_TOLERANCE, _QUANTIZED_TOLERANCE = 5e-2, 0.5
_BATCH = 128
_LENIENT = ScoreOptions(lenient=True)


class VerificationError(RuntimeError):
    """A file whose outputs differ too much from those of its model.

    Attributes:
        path: Where the rejected file was saved.
        verification: Its scores.
        reason: The difference.
    """

    def __init__(self, message: str, path: Path, verification: Evaluation, reason: str) -> None:
        super().__init__(message)
        self.path = path
        self.verification = verification
        self.reason = reason


@dataclass(frozen=True)
class Verification:
    """Settings of a verification.

    Attributes:
        data: Batches or arrays, as for `as_batches`; `None` for none.
        samples: Maximum number of samples.
        fallback: A batch of made-up samples, used without data.
        max_drop: Percentage points of accuracy that an output with labels may lose.
        tolerance: Relative difference allowed for an output without labels, and for numbers;
            `None` for the default of the format.
        scores: How the outputs are scored. Labels that do not fit are a warning.
    """

    data: Any
    samples: int
    fallback: Any
    max_drop: float
    tolerance: float | None
    scores: ScoreOptions = _LENIENT

    def run(
        self, content: bytes, description: Description, model: keras.Model, path: Path
    ) -> Evaluation | None:
        """Compare a file with its model.

        Returns:
            The scores of the first signature, `None` without data.

        Raises:
            VerificationError: If the difference is too large.
            RuntimeError: If LiteRT cannot run the file.
        """
        scores, reason = self.check(content, description, model)
        if reason:
            raise _reject(reason, content, path, scores[-1])
        return scores[0] if scores and self.data is not None else None

    def check(
        self, content: bytes, description: Description, model: keras.Model
    ) -> tuple[list[Evaluation], str | None]:
        """Return the scores of the signatures, and the reason to reject a file if there is one.

        Raises:
            RuntimeError: If LiteRT cannot run the file.
        """
        if flex_ops(content):
            return [], None  # Python's LiteRT cannot run them.
        scores = []
        data = self.fallback if self.data is None else self.data
        # A mixed-precision model rounds where its float32 file does not.
        mixed = any(layer.compute_dtype != "float32" for layer in model._flatten_layers())
        for key in description.outputs:
            source = f"the conversion of '{model.name}'"
            is_tap = key in description.taps
            options = _LENIENT if is_tap else self.scores
            with LiteRT(content, source, inputs=description.inputs, signature=key) as runner:
                batches = _first_batches(data, self.samples, len(runner.inputs), labeled=not is_tap)
                scores.append(
                    evaluate_runner(runner, content, description, batches, model, options)
                )
            reason = self._find_failure(scores[-1], description.quantization, mixed)
            if reason:
                return scores, reason
        return scores, None

    def _find_failure(self, scores: Evaluation, quantization: str, mixed: bool) -> str | None:
        """Return the reason to reject a file, `None` if there is none."""
        limit = self.tolerance
        if limit is None:
            limit = _TOLERANCES.get(quantization, _QUANTIZED_TOLERANCE)
            limit = max(limit, _MIXED_PRECISION_TOLERANCE) if mixed else limit
        if self.data is None and quantization not in _TOLERANCES:
            return None  # The error of quantization depends on the samples.
        for name, score in scores.outputs.items():
            # `not a <= b` is also true for NaN.
            if score.drop is not None:
                if not score.drop <= self.max_drop:
                    return (
                        f"output '{name}' loses {score.drop:.2f} points of accuracy "
                        f"({score.model_accuracy:.2%} to {score.accuracy:.2%}) on {scores.samples} "
                        f"samples, more than max_drop={self.max_drop:g}"
                    )
            elif score.relative_difference is not None and not score.relative_difference <= limit:
                agreement = "" if score.agreement is None else f", {score.agreement:.1%} agreement"
                return (
                    f"output '{name}' differs by {score.relative_difference:.3g} of its standard "
                    f"deviation in column {score.worst_column} (at most {score.max_difference:.3g}"
                    f"{agreement}) on {scores.samples} samples, more than tolerance={limit:g}"
                )
        return None


def _reject(reason: str, content: bytes, path: Path, scores: Evaluation) -> VerificationError:
    """Save a rejected file under another name, and return the error that names it."""
    rejected = path.with_name(f"{path.stem}.rejected.tflite")
    with atomic_write(rejected) as temporary:
        temporary.write_bytes(content)
    return VerificationError(
        f"Expected a file with the outputs of the Keras model. Received: {reason}. It is saved as "
        f"'{rejected}'. Inspect it with `kd.export.layer_errors`, calibrate with more samples, use "
        "another quantization, or allow a larger difference.",
        rejected,
        scores,
        reason,
    )


def _first_batches(data: Any, limit: int, inputs: int, labeled: bool) -> Iterator[Any]:
    """Yield batches of the first samples, with or without their labels."""
    for given in as_batches(data, "Verification", _BATCH, inputs, again=True):
        batch = given if labeled else (unpack_x_y(given)[0],)
        size = len(tree.flatten(batch)[0])
        for start in range(0, min(size, limit), _BATCH):
            rows = slice(start, min(start + _BATCH, limit))
            yield tree.map_structure(lambda array, rows=rows: array[rows], batch)
        limit -= size
        if limit <= 0:
            return
