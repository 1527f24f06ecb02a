"""Run a .tflite file: real-valued arrays in, outputs by name out."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.litert import signature as signatures
from keras_kd.litert.flatbuffer import flex_ops, main_signature
from keras_kd.litert.process import LiteRTError, ServerProcess
from keras_kd.litert.server import dequantize

_IDENTIFIER = b"TFL3"
_MAX_BATCH = 256
_KERAS_FILES = (".keras", ".h5")


class LiteRT:
    """A .tflite model that LiteRT runs in a child process.

    Inputs and outputs are real values: integers with a scale are quantized and dequantized here.
    Use it as a context manager or call `close`; it also closes when it is garbage-collected.

    Args:
        content: The bytes of the file.
        source: Name of the file in error messages.
        threads: Number of threads. Defaults to 1.
        inputs: Names of the inputs in the order in which lists of them are given. Defaults to the
            file's own order, which is alphabetical.
        signature: The signature to run. Defaults to that of the main graph.
        xnnpack: Whether to use the XNNPACK delegate. Defaults to `True`.
        keep_tensors: Whether `tensors` can be called. Defaults to `False`.
        new_process: Whether no other file has run in the child process. Defaults to `False`.

    Raises:
        ValueError: If the bytes are not a .tflite model, or the signature does not exist.
        RuntimeError: If LiteRT cannot run the model, for example because it needs TensorFlow ops.
    """

    def __init__(
        self,
        content: bytes,
        source: str,
        threads: int = 1,
        inputs: Sequence[str] | None = None,
        signature: str | None = None,
        xnnpack: bool = True,
        keep_tensors: bool = False,
        new_process: bool = False,
    ) -> None:
        self._source = source
        try:
            self._process = ServerProcess(
                content, source, threads, xnnpack, keep_tensors, new_process
            )
            self.close = self._process.close
            details = self._process.request("describe")
        except LiteRTError as error:
            raise ValueError(
                f"Expected a .tflite model. Received: {source}, {len(content)} bytes that LiteRT "
                f"cannot read ({error}). Export the model again."
            ) from error
        self.signature = _choose_signature(signature, list(details), content, source)
        self._inputs = details[self.signature]["inputs"]
        self._outputs = details[self.signature]["outputs"]
        self._allocate(content)
        if inputs is not None and set(inputs) == set(self._inputs):
            self._inputs = {name: self._inputs[name] for name in inputs}

    def __enter__(self) -> "LiteRT":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype]]:
        """Shape (`None` where it is free) and dtype of each input, by name."""
        return {name: (_shape(d), np.dtype(d["dtype"])) for name, d in self._inputs.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the file's order."""
        return tuple(self._outputs)

    @property
    def output_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape (`None` where it is free) of each output, by name."""
        return {name: _shape(detail) for name, detail in self._outputs.items()}

    @property
    def output_tensors(self) -> dict[str, str]:
        """Name of each output's tensor in the file's graph, by output name."""
        return {name: detail["tensor"] for name, detail in self._outputs.items()}

    @property
    def batch_size(self) -> int | None:
        """Number of samples per run, `None` if it is free."""
        return next(iter(self.inputs.values()))[0][0]

    def run(self, x: Any) -> dict[str, np.ndarray]:
        """Run a batch of any size.

        Args:
            x: An array (batch, ...), or several in a list or a dictionary by name.

        Returns:
            The outputs by name, each (batch, ...); float32 for real values.

        Raises:
            ValueError: If an array does not match the model's input.
            RuntimeError: If LiteRT fails.
        """
        arrays = self._prepare_inputs(x)
        total = len(next(iter(arrays.values())))
        fixed = self.batch_size
        if fixed is not None and total % fixed:
            # Fill the last batch by repeating the last sample.
            fill = fixed - total % fixed
            arrays = {n: np.concatenate([a, a[-1:].repeat(fill, 0)]) for n, a in arrays.items()}
        outputs = self._request("run", arrays, signature=self.signature, step=fixed or _MAX_BATCH)
        return {
            name: dequantize(outputs[name], detail)[:total]
            for name, detail in self._outputs.items()
        }

    def time(self, runs: int, seconds: float) -> np.ndarray:
        """Return the nanoseconds of repeated runs on the last input of `run`."""
        return self._request("time", runs=runs, seconds=seconds)["nanoseconds"]

    def memory(self) -> int | None:
        """Return LiteRT's peak memory in bytes without file and code; `None` if unknown."""
        return self._request("memory")

    def tensors(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the values of tensors of the main graph in the last run, by name."""
        return self._request("tensors", names=list(names))

    def _request(self, method: str, arrays: Any = None, **arguments: Any) -> Any:
        try:
            return self._process.request(method, arrays, **arguments)
        except LiteRTError as error:
            raise RuntimeError(
                f"Expected a model that LiteRT can run. Received: {self._source}, on which it "
                f"fails: {error}. Export the model again, or from other layers."
            ) from error

    def _allocate(self, content: bytes) -> None:
        if not flex_ops(content) and any(None in shape[1:] for shape, _ in self.inputs.values()):
            return  # With sizes of 1, convolutions may fail; `run` allocates for its sizes.
        try:
            self._process.request("allocate")
        except LiteRTError as error:
            flex = flex_ops(content)
            reason = f"it needs TensorFlow ops ({', '.join(flex)})" if flex else str(error)
            raise RuntimeError(
                f"Expected a model that LiteRT can run. Received: {self._source}, which it cannot: "
                f"{reason}. Export it from layers with built-in LiteRT ops, or run it in an "
                "application that links the Flex delegate."
            ) from error

    def _prepare_inputs(self, x: Any) -> dict[str, np.ndarray]:
        """Return the input arrays by name, in the file's dtypes, after a check of their shapes."""
        given = signatures.select_named(x, list(self._inputs))
        arrays = {name: np.asarray(value) for name, value in given.items()}
        check_shapes(arrays, {name: shape for name, (shape, _) in self.inputs.items()})
        return {name: _quantize(array, self._inputs[name]) for name, array in arrays.items()}


def check_shapes(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int | None, ...]]
) -> None:
    """Check that arrays match the inputs of a model, for any number of samples.

    Raises:
        ValueError: If a shape differs, the numbers of samples differ, or there is no sample.
    """
    for name, shape in shapes.items():
        received, expected = arrays[name].shape, (None, *shape[1:])
        matches = len(received) == len(expected) and all(
            size in (None, actual) for size, actual in zip(expected, received, strict=True)
        )
        if not matches:
            raise ValueError(
                f"Input '{name}': expected batches of shape {expected}. Received: shape "
                f"{received}. Pass the samples as the model takes them, with the batch as the "
                "first dimension."
            )
    sizes = {name: len(arrays[name]) for name in shapes}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"Expected the same number of samples for each input. Received: {sizes}. Pass the same "
            "samples to each."
        )
    if not next(iter(sizes.values())):
        raise ValueError("Expected at least one sample. Received: none. Pass a batch of samples.")


def read_tflite(path: str | os.PathLike) -> bytes:
    """Return the content of a .tflite file.

    Raises:
        TypeError: If it is no path, such as a Keras model.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a .tflite file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "Expected a .tflite file: its path, or what `to_tflite` returned. Received: an object "
            f"of type {type(path).__name__}. Write a Keras model to a file with "
            "kd.export.to_tflite(model, path)."
        )
    path = Path(path)
    if path.suffix in _KERAS_FILES:
        raise ValueError(
            f"Expected a .tflite file. Received: '{path}', a file of a Keras model. Load it with "
            "keras.models.load_model(path), and write it with kd.export.to_tflite(model, path)."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the path of a .tflite file. Received: '{path}', which is not a file. Write "
            "it with `to_tflite`."
        )
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"Expected a .tflite file. Received: '{path}', {len(content)} bytes without the file "
            f"identifier {_IDENTIFIER.decode()}. Write it with `to_tflite`."
        )
    return content


def _choose_signature(
    signature: str | None, existing: list[str], content: bytes, source: str
) -> str:
    """Return the requested signature, by default that of the main graph."""
    if signature is None:
        return existing[0] if len(existing) == 1 else main_signature(content) or existing[0]
    if signature not in existing:
        raise ValueError(
            f"Expected a signature of {source}: {existing}. Received: {signature!r}. Choose one."
        )
    return signature


def _shape(detail: Mapping[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in detail["shape"])


def _quantize(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Return real values in the dtype of an input, quantized if it has a scale."""
    dtype = np.dtype(detail["dtype"])
    if not detail["scales"]:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    integers = np.round(array / detail["scales"][0]) + detail["zero_points"][0]
    return np.clip(integers, limits.min, limits.max).astype(dtype)
