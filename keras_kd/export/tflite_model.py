"""A .tflite file that was written, and how to run it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.export.attempt import Attempt
from keras_kd.export.scores import Evaluation
from keras_kd.litert.interpreter import LiteRT, read


@dataclass(frozen=True)
class TFLiteModel:
    """A .tflite file that was written, and how to run it.

    Attributes:
        path: The file.
        quantization: One of `kd.export.QUANTIZATIONS`.
        inputs: The names of its inputs, in the order of the Keras model's.
        outputs: The names of its (first signature's) outputs, in the order of the Keras model's.
        verification: What it scored beside the Keras model; `None` where there were no samples.
        tried: Where `best` wrote it: what became of each format.
    """

    path: Path
    quantization: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    verification: Evaluation | None = None
    tried: tuple[Attempt, ...] = ()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.path.stat().st_size

    def predict(self, x: Any, signature: str | None = None) -> np.ndarray | dict[str, np.ndarray]:
        """Runs samples through the file with LiteRT, in a process of its own.

        Args:
            x: An array (batch, ...) of any batch size, as the file takes it; several inputs as a
                list or a dictionary.
            signature: Which of the file's signatures to run. Defaults to the first.

        Returns:
            The output, (batch, ...); several outputs in a dictionary by name.

        Raises:
            FileNotFoundError: If the file is gone.
            ValueError: If the samples do not fit the model.
            RuntimeError: If LiteRT cannot run the file.
        """
        content = read(self.path)
        with LiteRT(content, f"'{self.path}'", inputs=self.inputs, signature=signature) as runner:
            outputs = runner.run(x)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        ordered = self.outputs if set(self.outputs) == set(outputs) else sorted(outputs)
        return {name: outputs[name] for name in ordered}
