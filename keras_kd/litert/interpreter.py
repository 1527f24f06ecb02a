"""A .tflite file at work: opened by LiteRT, fed with arrays, read by the names of its outputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.litert import signature as signatures
from keras_kd.litert.flatbuffer import flex_ops, main_signature
from keras_kd.litert.process import EngineError, EngineProcess
from keras_kd.litert.server import dequantized

_IDENTIFIER = b"TFL3"
_MAX_BATCH = 256


class LiteRT:
    """A .tflite model that LiteRT runs, in a process of its own.

    Values go in and come out as the model means them: where a file takes or gives integers that
    stand for real numbers, they are quantized and dequantized here. Use it as a context manager,
    or `close` it; it also closes when it is collected.

    Args:
        content: The bytes of the file.
        source: What error messages call it.
        threads: Number of threads. Defaults to 1.
        inputs: Names of the inputs in the order in which lists of them are given. Defaults to the
            file's own order, which is alphabetical.
        signature: Which of the file's signatures to run. Defaults to that of the main graph.
        xnnpack: Whether the XNNPACK delegate takes over what it can. Defaults to `True`.
        keep_tensors: Whether `tensors` can be asked for. Defaults to `False`.

    Raises:
        ValueError: If the bytes are not a .tflite model, or there is no such signature.
        RuntimeError: If LiteRT cannot run the model: it needs TensorFlow's ops, for example.
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
    ) -> None:
        self._source = source
        try:
            self._process = EngineProcess(content, source, threads, xnnpack, keep_tensors)
            self.close = self._process.close
            described = self._process.ask("describe")
        except EngineError as error:
            raise ValueError(
                f"Expected a .tflite model. Received: {source}, {len(content)} bytes that LiteRT "
                f"does not read ({error}). Export the model again."
            ) from error
        self.signature = _chosen(signature, list(described), content, source)
        self._inputs = described[self.signature]["inputs"]
        self._outputs = described[self.signature]["outputs"]
        self._allocate(content)
        if inputs is not None and set(inputs) == set(self._inputs):
            self._inputs = {name: self._inputs[name] for name in inputs}

    def __enter__(self) -> "LiteRT":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype]]:
        """Shape (`None` where it is free) and dtype of each input, by its name."""
        return {name: (_shape(d), np.dtype(d["dtype"])) for name, d in self._inputs.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the file's order."""
        return tuple(self._outputs)

    @property
    def output_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape (`None` where it is free) of each output, by its name."""
        return {name: _shape(end) for name, end in self._outputs.items()}

    @property
    def output_tensors(self) -> dict[str, str]:
        """The tensor in the file's graph that each output is, by its name."""
        return {name: end["tensor"] for name, end in self._outputs.items()}

    def run(self, x: Any) -> dict[str, np.ndarray]:
        """Runs a batch of any size through the model.

        Args:
            x: An array (batch, ...), or several in a list or a dictionary by name.

        Returns:
            The outputs by name, each (batch, ...); float32 where the model is of real numbers.

        Raises:
            ValueError: If an array does not fit the model's input.
            RuntimeError: If LiteRT fails over it.
        """
        arrays = self._check(x)
        total = len(next(iter(arrays.values())))
        fixed = self._batch_size()
        if fixed is not None and total % fixed:
            # The file takes full batches only: the last sample fills the last one up.
            fill = fixed - total % fixed
            arrays = {n: np.concatenate([a, a[-1:].repeat(fill, 0)]) for n, a in arrays.items()}
        outputs = self._ask("run", arrays, signature=self.signature, step=fixed or _MAX_BATCH)
        return {
            name: _dequantize(outputs[name], end)[:total] for name, end in self._outputs.items()
        }

    def time(self, runs: int, seconds: float) -> np.ndarray:
        """Returns the nanoseconds of repeated runs, each on what `run` was given last.

        Args:
            runs: How many runs.
            seconds: When to stop before all are done.
        """
        return self._ask("time", runs=runs, seconds=seconds)["nanoseconds"]

    def memory(self) -> int | None:
        """Returns the most bytes that LiteRT took beyond file and code; `None` where not known."""
        return self._ask("memory")

    def tensors(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the values of some tensors of the main graph in the last run, by their names."""
        return self._ask("tensors", names=list(names))

    def _ask(self, method: str, arrays: Any = None, **arguments: Any) -> Any:
        try:
            return self._process.ask(method, arrays, **arguments)
        except EngineError as error:
            raise RuntimeError(
                f"Expected a model that LiteRT runs. Received: {self._source}, over which it "
                f"fails: {error}. Export the model again, or from other layers."
            ) from error

    def _allocate(self, content: bytes) -> None:
        try:
            self._process.ask("allocate")
        except EngineError as error:
            flex = flex_ops(content)
            reason = f"it needs TensorFlow's ops ({', '.join(flex)})" if flex else str(error)
            raise RuntimeError(
                f"Expected a model that LiteRT runs. Received: {self._source}, which it does not: "
                f"{reason}. Export it from layers that LiteRT has built in, or run it in an "
                "application that links the Flex delegate."
            ) from error

    def _batch_size(self) -> int | None:
        return next(iter(self.inputs.values()))[0][0]

    def _check(self, x: Any) -> dict[str, np.ndarray]:
        """Returns the input arrays by name, in the file's dtypes, if they fit it."""
        given = signatures.by_name(x, list(self._inputs))
        missing = [name for name in self._inputs if name not in given]
        if missing:
            raise ValueError(
                f"Expected inputs {list(self._inputs)}. Received: {list(given)}. "
                f"Give a dictionary that has {missing}."
            )
        arrays = {name: np.asarray(given[name]) for name in self._inputs}
        check_shapes(arrays, {name: shape for name, (shape, _) in self.inputs.items()})
        return {name: _quantize(array, self._inputs[name]) for name, array in arrays.items()}


def check_shapes(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int | None, ...]]
) -> None:
    """Checks that batches of samples fit the inputs of a model, whatever their number.

    Raises:
        ValueError: If one does not, if they differ in the number of samples, or there is none.
    """
    for name, shape in shapes.items():
        received, wanted = arrays[name].shape, (None, *shape[1:])
        fits = len(received) == len(wanted) and all(
            size in (None, got) for size, got in zip(wanted, received, strict=True)
        )
        if not fits:
            raise ValueError(
                f"Input '{name}': expected batches of shape {wanted}. Received: shape {received}. "
                "Give samples as the model takes them, with the batch as the first dimension."
            )
    sizes = {name: len(arrays[name]) for name in shapes}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"Expected as many samples for each input. Received: {sizes}. Give the same samples "
            "to each."
        )
    if not next(iter(sizes.values())):
        raise ValueError("Expected at least one sample. Received: none. Give a batch of samples.")


def read(path: str | Path) -> bytes:
    """Returns the content of a .tflite file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the path of a .tflite file. Received: '{path}', which is no file. Write it "
            "with `to_tflite`."
        )
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"Expected a .tflite file. Received: '{path}', {len(content)} bytes without the mark "
            f"{_IDENTIFIER.decode()} of one. Write it with `to_tflite`."
        )
    return content


def _chosen(signature: str | None, there: list[str], content: bytes, source: str) -> str:
    """Returns the signature that is asked for, or that of the main graph.

    Raises:
        ValueError: If there is none of that name.
    """
    if signature is None:
        return there[0] if len(there) == 1 else main_signature(content) or there[0]
    if signature not in there:
        raise ValueError(
            f"Expected a signature of {source}: {there}. Received: {signature!r}. Choose one."
        )
    return signature


def _shape(end: Mapping[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in end["shape"])


def _quantize(array: np.ndarray, end: Mapping[str, Any]) -> np.ndarray:
    """Returns real values as the integers of an input that has a scale."""
    dtype = np.dtype(end["dtype"])
    if not end["scales"]:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    integers = np.round(array / end["scales"][0]) + end["zero_points"][0]
    return np.clip(integers, limits.min, limits.max).astype(dtype)


def _dequantize(array: np.ndarray, end: Mapping[str, Any]) -> np.ndarray:
    return dequantized(array, end)
