"""What a .tflite file says of itself, in its metadata: names, normalisation, labels.

`to_tflite` writes it twice where there is something for an application: as JSON under `keras_kd`,
and as the metadata of TensorFlow Lite, which Android's and MediaPipe's libraries read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_kd.export.pre_post_processing import Ends, Normalization
from keras_kd.export.tflite_metadata import tflite_metadata
from keras_kd.litert.flatbuffer import add_metadata, read_metadata
from keras_kd.litert.interpreter import read

_NAME = "keras_kd"


@dataclass(frozen=True)
class Description:
    """What a .tflite file says of itself; all of it empty where `to_tflite` did not write it.

    Attributes:
        quantization: As `to_tflite` was asked for.
        inputs: The names of the inputs, in the order of the Keras model's.
        outputs: By signature: the names of the outputs, in the order of the Keras model's.
        taps: By signature: the tap that it gives, where that is not the model's output.
        normalization: By input: mean and std, `(raw - mean) / std` is what the model takes.
        raw_inputs: Whether the file takes raw values and normalises them itself.
        answers: By output: `"softmax"`, `"sigmoid"` or `"argmax"`, where the file applies it.
        labels: By output: the names of its classes.
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
    def ends(self) -> Ends:
        """What the file does beside the model."""
        return Ends(self.normalization, self.raw_inputs, self.answers)


def describe(path: str | Path) -> Description:
    """Reads what a .tflite file says of itself, without running it.

    Args:
        path: The file.

    Returns:
        The `Description`, empty if the file was not written by `to_tflite`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .tflite file.

    Example:
        >>> describe("model.tflite").labels
        {'logits': ('cat', 'dog')}
    """
    return describe_content(read(path))


def describe_content(content: bytes) -> Description:
    """Reads what the content of a .tflite file says of itself."""
    try:
        fields = json.loads(read_metadata(content, _NAME) or b"{}")
        normalization = {
            name: Normalization(tuple(mean), tuple(std))
            for name, (mean, std) in fields.pop("normalization", {}).items()
        }
        for key in ("outputs", "labels"):
            fields[key] = {name: tuple(values) for name, values in fields.get(key, {}).items()}
        inputs = tuple(fields.pop("inputs", ()))
        return Description(inputs=inputs, normalization=normalization, **fields)
    except (ValueError, TypeError, AttributeError):
        return Description()  # Damaged, or another's.


def described(content: bytes, description: Description, shapes: Mapping[str, Any]) -> bytes:
    """Returns a .tflite model that says of itself what it is.

    Args:
        content: The model.
        description: What it is.
        shapes: The shapes of its inputs, by name.
    """
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
    ours = json.dumps({key: value for key, value in fields.items() if value}, separators=(",", ":"))
    entries, files = {_NAME: ours.encode()}, {}
    if description.labels or description.normalization:
        buffer, files = tflite_metadata(content, description, shapes)
        entries["TFLITE_METADATA"] = buffer
    return add_metadata(content, entries, files)
