"""The .tflite files of a search: written, verified, measured, and the choice among them."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.budget.limits import Limits
from keras_kd.budget.problem import Problem, as_number
from keras_kd.export import calibration
from keras_kd.export.benchmark import benchmark, compare_latency
from keras_kd.export.evaluation import evaluate
from keras_kd.export.metadata import describe_content
from keras_kd.export.model_conversion import convert_model
from keras_kd.export.options import Options
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.files import ShortRepr
from keras_kd.litert.cost import cost
from keras_kd.litert.interpreter import read_tflite
from keras_kd.litert.signature import infer_signature

#: The formats of a student's files: LiteRT runs int8 fastest, and the others lose less accuracy.
FORMATS = ("int8", "dynamic", "float16", "float32")
_CALIBRATION = 300
_RUNS = 100
#: Points of accuracy that a file may lose to its own Keras model, as in `to_tflite`.
_MAX_LOSS = 2.0
#: Bytes by which the files of one model with other weights may differ.
_SLACK = 128
#: Scores that differ by less count as equal; then the smaller file is chosen.
_TIE = 1e-3


@dataclass(frozen=True, repr=False)
class CompressedFile(ShortRepr):
    """A verified file on disk.

    Attributes:
        path: The file.
        source: The training it is from, such as `"2-00"`, or `"teacher"`.
        quantization: One of `kd.export.QUANTIZATIONS`.
        quantization_aware: Whether its model was trained with the rounding of the file.
        size: Bytes.
        parameters: Number of weights.
        macs: Multiply-accumulate operations of a run; `None` if unknown.
        latency_us: Median time of a run on one thread, in microseconds.
        score: Accuracy on the validation data, or R² of numbers.
        model_score: That of the Keras model.
        test_score: That of the file on data that the search did not use.
    """

    path: Path
    source: str
    quantization: str
    quantization_aware: bool
    size: int
    parameters: int
    macs: int | None
    latency_us: float | None
    score: float
    model_score: float
    test_score: float | None = None

    @property
    def costs(self) -> dict[str, Any]:
        """What limits apply to, by the names of the attributes."""
        return {name: getattr(self, name) for name in ("size", "latency_us", "macs")}

    def as_dict(self, folder: Path) -> dict[str, Any]:
        """Return the values as JSON types, the path relative to a folder."""
        return {**asdict(self), "path": str(self.path.relative_to(folder))}

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path) -> "CompressedFile":
        """Return the file of such a dictionary."""
        return cls(**{**values, "path": folder / values["path"]})


@dataclass(frozen=True)
class FileWriter:
    """Writes the files of a problem's students.

    Attributes:
        problem: The problem.
        folder: Where to write.
    """

    problem: Problem
    folder: Path

    def write(
        self,
        model: keras.Model,
        source: str,
        formats: Sequence[str] = FORMATS,
        aware: bool = False,
    ) -> tuple[list[CompressedFile], dict[str, str]]:
        """Write a model in several formats and measure the files.

        Returns:
            The files, and by format why there is none.
        """
        found, failed = {}, {}
        for name in formats:
            suffix = "-aware" if aware else ""
            try:
                found[name] = self._convert(model, f"{source}-{name}{suffix}.tflite", name)
            except (ValueError, RuntimeError, ModuleNotFoundError) as error:
                failed[name] = " ".join(str(error).split())
        latencies = compare_latency(found, _RUNS)
        model_score = self.problem.score(model)
        files = []
        for name, file in found.items():
            if isinstance(latencies[name], RuntimeError):
                failed[name] = str(latencies[name])
                continue
            counted = cost(read_tflite(file.path))
            files.append(
                CompressedFile(
                    path=file.path,
                    source=source,
                    quantization=name,
                    quantization_aware=aware,
                    size=file.size,
                    parameters=counted.parameters,
                    macs=counted.macs,
                    latency_us=latencies[name].median_us,
                    score=as_number(file.verification),
                    model_score=model_score,
                )
            )
        return files, failed

    def _convert(self, model: keras.Model, name: str, quantization: str) -> TFLiteModel:
        """Write a model in one format and verify the file on the validation data."""
        problem = self.problem
        return to_tflite(
            model,
            self.folder / name,
            quantization,
            self._calibration,
            verification=problem.validation.arrays,
            verification_samples=len(problem.validation),
            max_drop=_MAX_LOSS,
            labels=problem.class_names,
            outputs=problem.scored,
        )

    def measure(self, model: keras.Model, time_it: bool) -> dict[str, Any]:
        """Return the costs of a model's int8 file, as it will be after a training.

        Raises:
            ValueError: If the model cannot be converted.
            RuntimeError: If the converter or LiteRT fails.
        """
        inputs = infer_signature(model)
        samples = calibration.take_samples(self._calibration, inputs, _CALIBRATION)
        options = Options("int8", labels=self.problem.class_names)
        with _without_zeros(model):
            content, _ = convert_model(model, inputs, options, samples)
        latency = None
        if time_it:
            path = self.folder / f"measured-{os.getpid()}.tflite"
            path.write_bytes(content)
            latency = _time(path)
            path.unlink()
        return {"size": len(content) + _SLACK, "latency_us": latency, "macs": cost(content).macs}

    def test(self, file: CompressedFile) -> CompressedFile:
        """Return a file with its score on data that the search did not use."""
        test = self.problem.test
        found = evaluate(file.path, test.arrays, outputs=self.problem.scored)
        return replace(file, test_score=as_number(found))

    @property
    def _calibration(self) -> Any:
        return (self.problem.train.take(slice(0, _CALIBRATION)).x,)


@contextlib.contextmanager
def _without_zeros(model: keras.Model) -> Iterator[None]:
    """Give weights that are all zero other values: the converter omits biases of zero."""
    zeros = [w for w in model.weights if "float" in w.dtype and not ops.any(w != 0)]
    for weight in zeros:
        weight.assign(np.linspace(-1e-3, 1e-3, math.prod(weight.shape)).reshape(weight.shape))
    try:
        yield
    finally:
        for weight in zeros:
            weight.assign(ops.zeros_like(weight))


def _time(path: Path) -> float:
    """Return the latency of a file, in microseconds."""
    try:
        return benchmark(path, runs=_RUNS).median_us
    except RuntimeError:  # XNNPACK refuses some ranges of untrained weights.
        return benchmark(path, runs=_RUNS, xnnpack=False).median_us


def select(files: Sequence[CompressedFile], limits: Limits, teacher: float) -> CompressedFile:
    """Return the best file: of those within all limits, otherwise the nearest one.

    With a limit of a cost the most accurate one is chosen, with `max_drop` alone the smallest one.

    Args:
        files: The files.
        limits: The limits.
        teacher: The teacher's score.
    """
    within = [file for file in files if is_within(file, limits, teacher)]
    if within and not limits.has_cost:
        return min(within, key=lambda file: (file.size, -file.score))
    if not within:
        within = [file for file in files if limits.excess(file.costs) <= 1]
    if not within:
        return min(files, key=lambda file: (limits.excess(file.costs), -file.score))
    top = max(file.score for file in within)
    equal = [file for file in within if file.score >= top - _TIE]
    return min(equal, key=lambda file: (file.size, -file.score, str(file.path)))


def is_within(file: CompressedFile, limits: Limits, teacher: float) -> bool:
    """Return whether a file is within all limits."""
    drop = 100 * (teacher - file.score)
    allowed = limits.max_drop is None or drop <= limits.max_drop
    return allowed and limits.excess(file.costs) <= 1


def pareto_front(files: Sequence[CompressedFile]) -> list[CompressedFile]:
    """Return the files that no other one beats in size, latency and score, by size."""

    def beats(one: CompressedFile, other: CompressedFile) -> bool:
        pairs = [
            (one.size, other.size),
            (one.latency_us or 0.0, other.latency_us or 0.0),
            (-one.score, -other.score),
        ]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    front = [file for file in files if not any(beats(other, file) for other in files)]
    return sorted(front, key=lambda file: (file.size, -file.score))


def as_tflite_model(file: CompressedFile, problem: Problem) -> TFLiteModel:
    """Return a file as `kd.export` does, with its scores on the test data."""
    content = read_tflite(file.path)
    description = describe_content(content)
    outputs = next(iter(description.outputs.values()))
    scores = evaluate(file.path, problem.test.arrays, outputs=problem.scored)
    return TFLiteModel(file.path, file.quantization, description.inputs, outputs, scores)
