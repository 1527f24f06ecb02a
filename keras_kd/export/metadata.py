"""Description of a .tflite file in its own metadata: names, normalization, labels.

`to_tflite` writes it as JSON under `keras_kd` and, if it contains labels or a normalization, also
as TensorFlow Lite metadata, which the libraries of Android and MediaPipe read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_kd.export.pre_post_processing import Normalization, Processing
from keras_kd.export.tflite_metadata import tflite_metadata
from keras_kd.files import ShortRepr
from keras_kd.litert.flatbuffer import DESCRIPTION, add_metadata, read_metadata
from keras_kd.litert.interpreter import read_tflite


@dataclass(frozen=True, repr=False)
class Description(ShortRepr):
    """Description of a .tflite file; empty if `to_tflite` did not write the file.

    Attributes:
        quantization: The format, one of `kd.export.QUANTIZATIONS`.
        inputs: Names of the inputs, in the order of the Keras model's.
        outputs: Names of the outputs by signature, in the order of the Keras model's.
        taps: The tap of each signature that does not return the model's outputs.
        normalization: Mean and std by input: `(raw - mean) / std` is the model's input.
        raw_inputs: Whether the file takes raw inputs and normalizes them itself.
        answers: `"softmax"`, `"sigmoid"` or `"argmax"` for each output that the file applies it to.
        labels: Class names by output.
    """

    quantization: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taps: Mapping[str, str] = field(default_factory=dict)
    normalization: Mapping[str, Normalization] = field(default_factory=dict)
    raw_inputs: bool = False
    answers: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def processing(self) -> Processing:
        """Pre- and post-processing in the file."""
        return Processing(self.normalization, self.raw_inputs, self.answers)


def describe(path: str | Path) -> Description:
    """Read the description of a .tflite file without running it.

    Args:
        path: The file.

    Returns:
        The `Description`, empty if `to_tflite` did not write the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a .tflite file.

    Example:
        >>> describe("model.tflite").labels
        {'logits': ('cat', 'dog')}
    """
    return describe_content(read_tflite(path))


def describe_content(content: bytes) -> Description:
    """Read the description from the content of a .tflite file."""
    try:
        fields = json.loads(read_metadata(content, DESCRIPTION) or b"{}")
        normalization = {
            name: Normalization(tuple(mean), tuple(std))
            for name, (mean, std) in fields.pop("normalization", {}).items()
        }
        for key in ("outputs", "labels"):
            fields[key] = {name: tuple(values) for name, values in fields.get(key, {}).items()}
        inputs = tuple(fields.pop("inputs", ()))
        return Description(inputs=inputs, normalization=normalization, **fields)
    except (ValueError, TypeError, AttributeError):
        return Description()  # Damaged, or written by another program.


def embed_description(content: bytes, description: Description, shapes: Mapping[str, Any]) -> bytes:
    """Return a .tflite model with its description in the metadata."""
    fields = {
        "quantization": description.quantization,
        "inputs": description.inputs,
        "outputs": description.outputs,
        "taps": description.taps,
        "normalization": {n: [v.mean, v.std] for n, v in description.normalization.items()},
        "raw_inputs": description.raw_inputs,
        "answers": description.answers,
        "labels": description.labels,
    }
    nonempty = {key: value for key, value in fields.items() if value}
    entries, files = {DESCRIPTION: json.dumps(nonempty, separators=(",", ":")).encode()}, {}
    if description.labels or description.normalization:
        buffer, files = tflite_metadata(content, description, shapes)
        entries["TFLITE_METADATA"] = buffer
    return add_metadata(content, entries, files)
