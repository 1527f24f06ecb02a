"""The metadata of TensorFlow Lite: what Android's and MediaPipe's libraries read in a file.

A table of tables in the flatbuffer format `metadata_schema.fbs` (version 1.1.0 of tflite-support,
https://github.com/tensorflow/tflite-support), kept in the model's metadata under TFLITE_METADATA.
The labels lie in text files that are packed in behind the model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from keras_kd.litert.flatbuffer import parse

# What the schema calls the parts of a content, of a process unit and of an associated file.
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_COLOURS = {3: 1, 1: 2}  # RGB and GRAYSCALE, by the number of channels.


def tflite_metadata(
    content: bytes, description: Any, shapes: Mapping[str, Sequence[int | None]]
) -> tuple[bytes, dict[str, str]]:
    """Returns the metadata, and the texts of the label files that it speaks of.

    Args:
        content: A .tflite model.
        description: Its `Description`.
        shapes: The shapes of its inputs, by name.
    """
    inputs, outputs = _order(content)
    files = {
        f"labels_{name}.txt" if len(description.labels) > 1 else "labels.txt": "\n".join(labels)
        for name, labels in description.labels.items()
    }
    names = dict(zip(description.labels, files, strict=True))
    writer = _Writer()
    graph = writer.table(
        11,
        {
            2: writer.tables([_input(writer, n, description, shapes[n]) for n in inputs]),
            3: writer.tables([_output(writer, n, description, names) for n in outputs]),
        },
    )
    root = writer.table(8, {3: writer.tables([graph]), 7: writer.text("1.0.0")})
    return writer.finished(root), files


def _input(writer: "_Writer", name: str, description: Any, shape: Sequence[int | None]) -> int:
    units = None
    if name in description.normalization:
        given = description.normalization[name]
        # What the file does itself is nothing for the application to do.
        mean, std = ((0.0,), (1.0,)) if description.raw_inputs else (given.mean, given.std)
        options = writer.table(2, {0: writer.floats(mean), 1: writer.floats(std)})
        units = writer.tables([writer.table(2, {1: options}, {0: _NORMALIZATION})])
    properties, kind = None, _FEATURE
    if len(shape) == 4 and shape[-1] in _COLOURS:
        properties, kind = writer.table(2, {}, {0: _COLOURS[shape[-1]]}), _IMAGE
    properties = properties or writer.table(1, {})
    content = writer.table(3, {1: properties}, {0: kind})
    return writer.table(7, {0: writer.text(name), 3: content, 4: units})


def _output(writer: "_Writer", name: str, description: Any, files: Mapping[str, str]) -> int:
    labels = None
    if name in files:
        kind = _VALUE_LABELS if description.answers.get(name) == "argmax" else _AXIS_LABELS
        file = writer.table(4, {0: writer.text(files[name])}, {2: kind})
        labels = writer.tables([file])
    content = writer.table(3, {1: writer.table(1, {})}, {0: _FEATURE})
    return writer.table(7, {0: writer.text(name), 3: content, 6: labels})


def _order(content: bytes) -> tuple[list[str], list[str]]:
    """Returns the names of inputs and outputs in the order of the main graph's own lists."""
    model = parse(content)
    graph = model.subgraphs[0]
    signature = next(s for s in model.signatureDefs if s.subgraphIndex == 0)
    return tuple(
        [{end.tensorIndex: end.name.decode() for end in ends}[index] for index in indices]
        for ends, indices in (
            (signature.inputs, graph.inputs),
            (signature.outputs, graph.outputs),
        )
    )


class _Writer:
    """Writes tables by the numbers of their fields."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def table(
        self, fields: int, parts: Mapping[int, int | None], numbers: Mapping[int, int] | None = None
    ) -> int:
        """Writes a table of so many fields: other parts, and numbers of one byte."""
        self._builder.StartObject(fields)
        for slot, part in parts.items():
            if part is not None:
                self._builder.PrependUOffsetTRelativeSlot(slot, part, 0)
        for slot, number in (numbers or {}).items():
            self._builder.PrependUint8Slot(slot, number, 0)
        return self._builder.EndObject()

    def tables(self, parts: Sequence[int]) -> int:
        """Writes a list of tables."""
        self._builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            self._builder.PrependUOffsetTRelative(part)
        return self._builder.EndVector()

    def floats(self, values: Sequence[float]) -> int:
        """Writes a list of numbers."""
        return self._builder.CreateNumpyVector(np.float32(values))

    def text(self, value: str) -> int:
        """Writes a text."""
        return self._builder.CreateString(value)

    def finished(self, root: int) -> bytes:
        """Returns the bytes."""
        self._builder.Finish(root, b"M001")
        return bytes(self._builder.Output())
