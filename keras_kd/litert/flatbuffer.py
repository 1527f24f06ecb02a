"""Read and write the contents of a .tflite file: ops, metadata and associated files."""

import contextlib
import io
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

#: The metadata entry in which `kd.export` describes a file.
DESCRIPTION = "keras_kd"
_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
_DAMAGED = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError)


def flex_ops(content: bytes) -> list[str]:
    """Return the ops of a .tflite model that need TensorFlow, without the prefix `Flex`."""
    with _damage_named(content):
        model = schema.Model.GetRootAs(content)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        custom = [code.CustomCode().decode() for code in codes if code.CustomCode()]
    return [name.removeprefix("Flex") for name in custom if name.startswith("Flex")]


def main_signature(content: bytes) -> str | None:
    """Return the name of the main graph's signature, `None` if it has none."""
    with _damage_named(content):
        model = schema.Model.GetRootAs(content)
        for i in range(model.SignatureDefsLength()):
            signature = model.SignatureDefs(i)
            if signature.SubgraphIndex() == 0:
                return signature.SignatureKey().decode()
    return None


def read_metadata(content: bytes, name: str) -> bytes | None:
    """Return a metadata entry of a .tflite model, `None` if it does not exist."""
    try:
        model = schema.Model.GetRootAs(content)
        for i in range(model.MetadataLength()):
            entry = model.Metadata(i)
            if entry.Name() == name.encode():
                return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    except _DAMAGED:
        return None
    return None


def recorded_inputs(content: bytes) -> list[str] | None:
    """Return the names of a file's inputs in the order of its Keras model's, if it records them."""
    try:
        return json.loads(read_metadata(content, DESCRIPTION) or b"{}").get("inputs")
    except (ValueError, AttributeError):
        return None  # Damaged, or written by another program.


def add_metadata(content: bytes, entries: Mapping[str, bytes], files: Mapping[str, str]) -> bytes:
    """Return a .tflite model with metadata entries and associated text files."""
    model = parse(content)
    model.metadata, model.buffers = list(model.metadata or []), list(model.buffers)
    for name, value in entries.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = name, len(model.buffers)
        buffer.data = np.frombuffer(value, "uint8")
        model.metadata.append(entry)
        model.buffers.append(buffer)
    packed = pack(model, len(content) + sum(map(len, entries.values())))
    if not files:
        return packed
    stream = io.BytesIO(packed)
    with zipfile.ZipFile(stream, "a") as archive:  # Appends to the model.
        for name, text in files.items():
            # A fixed date, so that the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def rename_signatures(content: bytes, names: Mapping[str, str]) -> bytes:
    """Return a .tflite model with other names of its signatures: from the present to the new."""
    if all(old == new for old, new in names.items()):
        return content
    model = parse(content)
    for signature in model.signatureDefs:
        signature.signatureKey = names[signature.signatureKey.decode()].encode()
    return pack(model, len(content))


def parse(content: bytes) -> Any:
    """Parse a .tflite model, with all weights in its buffers.

    Raises:
        ValueError: If it is damaged.
    """
    with _damage_named(content):
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        for buffer in model.buffers or []:
            # ai-edge-quantizer appends the weights of larger models after the flatbuffer.
            if buffer.offset > 1:
                end = buffer.offset + buffer.size
                buffer.data = np.frombuffer(content[buffer.offset : end], "uint8")
                buffer.offset = buffer.size = 0
        return model


@contextlib.contextmanager
def _damage_named(content: bytes) -> Iterator[None]:
    """Raise a `ValueError` with a readable message for content that cannot be read."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"Expected a .tflite model. Received: {len(content)} bytes that cannot be read "
            f"({error}). Export the model again."
        ) from error


def pack(model: Any, size: int) -> bytes:
    """Return the content of a parsed model, of about a given size."""
    builder = _AlignedBuilder(size + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operators(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the operator of each op of a graph."""
    for operator in graph.operators if graph.operators is not None else ():
        code = model.operatorCodes[operator.opcodeIndex]
        # Numbers below 127 may be in the deprecated field only.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        yield _NAMES.get(number, "CUSTOM"), operator


class _AlignedBuilder(flatbuffers.Builder):
    """Aligns tensor buffers to 16 bytes, as the schema demands and the generated code omits."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)
