"""What is written in a .tflite file: its ops, its metadata, the texts packed in behind it."""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
_DAMAGED = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError)


def flex_ops(content: bytes) -> list[str]:
    """Returns the ops of a .tflite model that only TensorFlow can run, without `Flex`."""
    codes = parse(content).operatorCodes or []
    custom = [code.customCode.decode() for code in codes if code.customCode]
    return [name.removeprefix("Flex") for name in custom if name.startswith("Flex")]


def main_signature(content: bytes) -> str | None:
    """Returns the name of the main graph's signature, `None` where it has none."""
    for signature in parse(content).signatureDefs or []:
        if signature.subgraphIndex == 0:
            return signature.signatureKey.decode()
    return None


def read_metadata(content: bytes, name: str) -> bytes | None:
    """Returns a metadata entry of a .tflite model, `None` where it has none of that name."""
    try:
        model = schema.Model.GetRootAs(content)
        for i in range(model.MetadataLength()):
            entry = model.Metadata(i)
            if entry.Name() == name.encode():
                return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    except _DAMAGED:
        return None
    return None


def add_metadata(content: bytes, entries: Mapping[str, bytes], files: Mapping[str, str]) -> bytes:
    """Returns a .tflite model with metadata entries, and with text files packed in behind it.

    Args:
        content: The model.
        entries: Metadata by name.
        files: Texts by file name; the model becomes a ZIP archive of them too, as TensorFlow Lite's
            metadata has it.
    """
    model = parse(content)
    model.metadata, model.buffers = list(model.metadata or []), list(model.buffers)
    for name, value in entries.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = name, len(model.buffers)
        buffer.data = np.frombuffer(value, "uint8")
        model.metadata.append(entry)
        model.buffers.append(buffer)
    builder = _Aligned(len(content) + sum(map(len, entries.values())) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    if not files:
        return bytes(builder.Output())
    stream = io.BytesIO(bytes(builder.Output()))
    with zipfile.ZipFile(stream, "a") as archive:  # It is put behind what is there.
        for name, text in files.items():
            # A fixed date: the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def parse(content: bytes) -> Any:
    """Returns a .tflite model as objects, all weights in its buffers.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        for buffer in model.buffers or []:
            # ai-edge-quantizer puts the weights of larger models behind the flatbuffer.
            if buffer.offset > 1:
                end = buffer.offset + buffer.size
                buffer.data = np.frombuffer(content[buffer.offset : end], "uint8")
                buffer.offset = buffer.size = 0
        return model
    except _DAMAGED as error:
        raise ValueError(
            f"Expected a .tflite model. Received: {len(content)} bytes that cannot be read "
            f"({error}). Export the model again."
        ) from error


def operators(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """Yields the ops of one graph of a parsed model, each with its name."""
    for operator in graph.operators if graph.operators is not None else ():
        code = model.operatorCodes[operator.opcodeIndex]
        # Small numbers stand in the old field, as they did before there was a new one.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        yield _NAMES.get(number, "CUSTOM"), operator


class _Aligned(flatbuffers.Builder):
    """Aligns the contents of tensors as the schema demands, which the generated code does not."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)
