"""TensorFlow Lite metadata, which the libraries of Android and MediaPipe read.

A flatbuffer in the format `metadata_schema.fbs` (version 1.1.0 of tflite-support,
https://github.com/tensorflow/tflite-support), stored in the model's metadata under TFLITE_METADATA.
The labels are in associated text files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from keras_kd.litert.flatbuffer import parse

# Enumeration values of content properties, process units and associated files.
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_COLORS = {3: 1, 1: 2}  # RGB and GRAYSCALE, by the number of channels.


def tflite_metadata(
    content: bytes, description: Any, shapes: Mapping[str, Sequence[int | None]]
) -> tuple[bytes, dict[str, str]]:
    """Return the metadata, and the label files that it refers to as texts by name."""
    inputs, outputs = _graph_order(content)
    files = {
        f"labels_{name}.txt" if len(description.labels) > 1 else "labels.txt": "\n".join(labels)
        for name, labels in description.labels.items()
    }
    names = dict(zip(description.labels, files, strict=True))
    writer = _TableWriter()
    graph = writer.table(
        11,
        {
            2: writer.tables([_input(writer, n, description, shapes[n]) for n in inputs]),
            3: writer.tables([_output(writer, n, description, names) for n in outputs]),
        },
    )
    root = writer.table(8, {3: writer.tables([graph]), 7: writer.text("1.0.0")})
    return writer.finish(root), files


def _input(writer: "_TableWriter", name: str, description: Any, shape: Sequence[int | None]) -> int:
    units = None
    if name in description.normalization:
        given = description.normalization[name]
        # A file that takes raw inputs leaves nothing to the application.
        mean, std = ((0.0,), (1.0,)) if description.raw_inputs else (given.mean, given.std)
        options = writer.table(2, {0: writer.floats(mean), 1: writer.floats(std)})
        units = writer.tables([writer.table(2, {1: options}, {0: _NORMALIZATION})])
    properties, kind = None, _FEATURE
    if len(shape) == 4 and shape[-1] in _COLORS:
        properties, kind = writer.table(2, {}, {0: _COLORS[shape[-1]]}), _IMAGE
    properties = properties or writer.table(1, {})
    content = writer.table(3, {1: properties}, {0: kind})
    return writer.table(7, {0: writer.text(name), 3: content, 4: units})


def _output(writer: "_TableWriter", name: str, description: Any, files: Mapping[str, str]) -> int:
    labels = None
    if name in files:
        kind = _VALUE_LABELS if description.answers.get(name) == "argmax" else _AXIS_LABELS
        file = writer.table(4, {0: writer.text(files[name])}, {2: kind})
        labels = writer.tables([file])
    content = writer.table(3, {1: writer.table(1, {})}, {0: _FEATURE})
    return writer.table(7, {0: writer.text(name), 3: content, 6: labels})


def _graph_order(content: bytes) -> tuple[list[str], list[str]]:
    """Return the names of inputs and outputs in the order of the main graph."""
    model = parse(content)
    graph = model.subgraphs[0]
    signature = next(s for s in model.signatureDefs if s.subgraphIndex == 0)
    return tuple(
        [{entry.tensorIndex: entry.name.decode() for entry in entries}[index] for index in indices]
        for entries, indices in (
            (signature.inputs, graph.inputs),
            (signature.outputs, graph.outputs),
        )
    )


class _TableWriter:
    """Writes flatbuffer tables by field numbers."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def table(
        self, fields: int, parts: Mapping[int, int | None], numbers: Mapping[int, int] | None = None
    ) -> int:
        """Write a table with a number of fields: offsets of other parts, and one-byte numbers."""
        self._builder.StartObject(fields)
        for slot, part in parts.items():
            if part is not None:
                self._builder.PrependUOffsetTRelativeSlot(slot, part, 0)
        for slot, number in (numbers or {}).items():
            self._builder.PrependUint8Slot(slot, number, 0)
        return self._builder.EndObject()

    def tables(self, parts: Sequence[int]) -> int:
        """Write a vector of tables."""
        self._builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            self._builder.PrependUOffsetTRelative(part)
        return self._builder.EndVector()

    def floats(self, values: Sequence[float]) -> int:
        """Write a vector of floats."""
        return self._builder.CreateNumpyVector(np.float32(values))

    def text(self, value: str) -> int:
        """Write a string."""
        return self._builder.CreateString(value)

    def finish(self, root: int) -> bytes:
        """Return the buffer."""
        self._builder.Finish(root, b"M001")
        return bytes(self._builder.Output())
