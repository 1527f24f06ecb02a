"""A written .tflite file, and the formats that `best` tried for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.export.scores import Evaluation
from keras_kd.files import ShortRepr, fields_table, results_table, text_fields
from keras_kd.litert.interpreter import LiteRT, read_tflite


@dataclass(frozen=True, repr=False)
class Attempt(ShortRepr):
    """Result of one format that `best` tried.

    Attributes:
        quantization: The format.
        reason: Why it was not kept; `None` for the kept one.
        size: Size of the file in bytes, `None` if there is none.
        latency_us: Median time of one run on one thread, in microseconds; `None` if it was not
            measured.
        noise: Uncertainty of the latency, as a fraction of it.
        verification: Scores of the file, compared with the Keras model.
    """

    quantization: str
    reason: str | None = None
    size: int | None = None
    latency_us: float | None = None
    noise: float | None = None
    verification: Evaluation | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        scores = self.verification and self.verification.as_dict()
        return {**vars(self), "verification": scores}


@dataclass(frozen=True)
class TFLiteModel(HtmlTables):
    """A written .tflite file.

    Attributes:
        path: The file.
        quantization: One of `kd.export.QUANTIZATIONS`.
        inputs: Names of its inputs, in the order of the Keras model's.
        outputs: Names of the outputs of its first signature, in the order of the Keras model's.
        verification: Scores compared with the Keras model; `None` without samples.
        tried: All formats that `best` tried, if `best` wrote the file.
        float_layers: The layers of an int8 file that stay in float32, for `keep_float`.
    """

    path: Path
    quantization: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    verification: Evaluation | None = None
    tried: tuple[Attempt, ...] = ()
    float_layers: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [text_fields("TFLiteModel", self._fields())]
        if self.verification is not None:
            lines.append(f"  verification: {self.verification!r}")
        return "\n".join([*lines, *(f"  tried: {attempt!r}" for attempt in self.tried)])

    def html_tables(self) -> Mapping[str, Table]:
        """Return the file, its verification and the formats that `best` tried."""
        tables = {"TFLiteModel": fields_table(self._fields())}
        if self.verification is not None:
            tables |= self.verification.html_tables()
        if self.tried:
            tried = {str(i): attempt for i, attempt in enumerate(self.tried)}
            tables["Tried formats"] = results_table("", tried)
        return tables

    def _fields(self) -> dict[str, Any]:
        names = ("path", "quantization", "inputs", "outputs")
        return {name: getattr(self, name) for name in names}

    def __fspath__(self) -> str:
        """Return the path: the object can be passed wherever the path of a file can."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.path.stat().st_size

    def predict(self, x: Any, signature: str | None = None) -> np.ndarray | dict[str, np.ndarray]:
        """Run samples through the file with LiteRT, in a child process.

        Args:
            x: An array (batch, ...) of any batch size, as the file takes it; several inputs as a
                list or a dictionary.
            signature: The signature to run. Defaults to the first.

        Returns:
            The output, (batch, ...); several outputs in a dictionary by name.

        Raises:
            FileNotFoundError: If the file does not exist any more.
            ValueError: If the samples do not match the model's inputs.
            RuntimeError: If LiteRT cannot run the file.
        """
        content = read_tflite(self.path)
        with LiteRT(content, f"'{self.path}'", inputs=self.inputs, signature=signature) as runner:
            outputs = runner.run(x)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        ordered = self.outputs if set(self.outputs) == set(outputs) else sorted(outputs)
        return {name: outputs[name] for name in ordered}
