"""An int8 file some of whose layers stay in float32."""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np

from keras_kd.export.conversion import quantize_calibrated
from keras_kd.export.layer_errors import layer_errors, layer_names, name_ops
from keras_kd.export.model_conversion import convert_model, describe
from keras_kd.export.options import Options
from keras_kd.export.verification import Verification
from keras_kd.litert.signature import Signature


class PartlyQuantized:
    """A model that is converted and calibrated once, and quantized with any choice of layers.

    Args:
        model: The model.
        inputs: Its inputs.
        options: The options of the file, with `keep_float`.
        samples: The samples for the calibration.

    Attributes:
        description: The description of the file.
        layers: The outputs of the ops of each layer, by the layer's name in `layer_errors`.

    Raises:
        ValueError: If the model cannot be converted.
        RuntimeError: If the converter fails.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Signature,
        options: Options,
        samples: Mapping[str, np.ndarray] | None,
    ) -> None:
        self._model, self._inputs, self._options, self._samples = model, inputs, options, samples
        self._calibrated, self.description = convert_model(model, inputs, options, samples)
        self.layers: dict[str, list[str]] = {}
        for op in name_ops(self._calibrated, layer_names(model)):
            self.layers.setdefault(op.layer, []).extend(op.outputs)

    def choose(self, verification: Verification) -> tuple[bytes, tuple[str, ...]]:
        """Return the content of the file, and the layers that stay in float32.

        With `"auto"`, these are as many of those that add the largest errors as the verification
        needs, without those that it does not need; if all are not enough, none.

        Args:
            verification: The verification of the file.

        Raises:
            ValueError: If a layer does not exist, or there are no samples for the verification.
        """
        if self._options.keep_float != "auto":
            chosen = self._find(self._options.keep_float)
            return self.quantize(chosen), chosen
        if verification.data is None:
            raise ValueError(
                'Expected samples for the verification with keep_float="auto". Received: none. '
                "Pass `verification`."
            )
        content = self.quantize(())
        if self._passes(content, verification):
            return content, ()
        order = self._order(content, verification)
        chosen = order[: self._count_needed(order, verification)]
        for layer in chosen[-2::-1]:  # The last one is needed.
            fewer = [other for other in chosen if other != layer]
            if self._passes(self.quantize(fewer), verification):
                chosen = fewer
        return self.quantize(chosen), tuple(chosen)

    def quantize(self, keep: Collection[str]) -> bytes:
        """Return the content of the file with some layers in float32."""
        nodes = [output for layer in keep for output in self.layers[layer]]
        content = quantize_calibrated(self._calibrated, self._options.request, nodes)
        return describe(content, self.description, self._inputs)

    def _find(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the layers with given names, or inside models of these names."""
        found = {
            name: [x for x in self.layers if _contains(name, x)] for name in dict.fromkeys(names)
        }
        missing = [name for name, layers in found.items() if not layers]
        if missing:
            raise ValueError(
                f"Expected names of {list(self.layers)} in keep_float. Received: {missing}, which "
                f"no op of '{self._model.name}' comes from. Choose from the list."
            )
        return tuple(dict.fromkeys(layer for layers in found.values() for layer in layers))

    def _passes(self, content: bytes, verification: Verification) -> bool:
        return verification.check(content, self.description, self._model)[1] is None

    def _order(self, content: bytes, verification: Verification) -> list[str]:
        """Return all layers, the one that adds the largest error first."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.tflite"
            path.write_bytes(content)
            outputs = verification.scores.outputs
            steps = layer_errors(path, self._model, verification.data, outputs=outputs)
        added = dict.fromkeys(self.layers, 0.0)
        for step in steps:
            if step.layer in added:
                added[step.layer] = max(added[step.layer], step.added)
        return sorted(added, key=lambda layer: -added[layer])

    def _count_needed(self, order: list[str], verification: Verification) -> int:
        """Return how many layers of the order are needed, 0 if all of them are not enough."""

        def enough(count: int) -> bool:
            return self._passes(self.quantize(order[:count]), verification)

        high = 1
        while not enough(high):
            if high == len(order):
                return 0
            high = min(2 * high, len(order))
        low = high // 2  # Not enough.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def _contains(name: str, layer: str) -> bool:
    """Return whether the ops of a layer, or of several merged ones, come from a given one."""
    return name == layer or any(
        part == name or part.startswith(f"{name}/") for part in layer.split(" + ")
    )
