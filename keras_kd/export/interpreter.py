"""A .tflite file at work: opened by LiteRT, fed with arrays, read by the names of its outputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_kd.export import signature

_IDENTIFIER = b"TFL3"
_MAX_BATCH = 256


class LiteRT:
    """A .tflite model that LiteRT runs.

    Values go in and come out as the model means them: where a file takes or gives 8-bit integers
    that stand for real numbers, they are quantized and dequantized here.

    Args:
        content: The bytes of the file.
        source: What error messages call it.
        threads: Number of threads. Defaults to 1.
        inputs: Names of the inputs in the order in which lists of them are given. Defaults to the
            file's own order, which is alphabetical.

    Raises:
        ValueError: If the bytes are not a .tflite model.
        RuntimeError: If LiteRT cannot run the model: it needs TensorFlow's ops, for example.
    """

    def __init__(
        self, content: bytes, source: str, threads: int = 1, inputs: Sequence[str] | None = None
    ) -> None:
        self._source = source
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._inputs, self._outputs = self._details()
        # A damaged name is a UnicodeDecodeError, which is a ValueError.
        except ValueError as error:
            raise ValueError(
                f"Expected a .tflite model. Received: {source}, {len(content)} bytes that LiteRT "
                f"does not read ({error}). Export the model again."
            ) from error
        self._allocate(content)
        if inputs is not None and set(inputs) == set(self._inputs):
            self._inputs = {name: self._inputs[name] for name in inputs}

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype]]:
        """Shape (`None` where it is free) and dtype of each input, by its name."""
        return {name: (_shape(d), np.dtype(d["dtype"])) for name, d in self._inputs.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the file's order."""
        return tuple(self._outputs)

    def run(self, x: Any) -> dict[str, np.ndarray]:
        """Runs a batch of any size through the model.

        Args:
            x: An array (batch, ...), or several in a list or a dictionary by name.

        Returns:
            The outputs by name, each (batch, ...); float32 where the model is of real numbers.

        Raises:
            ValueError: If an array does not fit the model's input.
        """
        arrays = self._check(x)
        total = len(next(iter(arrays.values())))
        step = self._batch_size() or min(total, _MAX_BATCH)
        chunks = []
        for start in range(0, total, step):
            chunk = {name: array[start : start + step] for name, array in arrays.items()}
            chunks.append(self._run_chunk(chunk, min(step, total - start)))
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in self._outputs}

    def load(self, x: Any) -> None:
        """Puts one batch of the file's own size into the inputs, for `invoke`."""
        for name, array in self._check(x).items():
            detail = self._inputs[name]
            self._interpreter.set_tensor(detail["index"], _quantize(array, detail))

    def invoke(self) -> None:
        """Runs the model on what `load` put in."""
        self._interpreter.invoke()

    def _run_chunk(self, chunk: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
        fixed = self._batch_size()
        if fixed is None:
            self._resize(chunk)
        elif size < fixed:
            # The file takes full batches only: the last sample fills it up.
            chunk = {
                n: np.concatenate([a, a[-1:].repeat(fixed - size, 0)]) for n, a in chunk.items()
            }
        self.load(chunk)
        self.invoke()
        return {
            name: _dequantize(self._interpreter.get_tensor(detail["index"]), detail)[:size]
            for name, detail in self._outputs.items()
        }

    def _resize(self, chunk: Mapping[str, np.ndarray]) -> None:
        for name, array in chunk.items():
            self._interpreter.resize_tensor_input(self._inputs[name]["index"], array.shape)
        self._interpreter.allocate_tensors()

    def _allocate(self, content: bytes) -> None:
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            flex = flex_ops(content)
            reason = f"it needs TensorFlow's ops ({', '.join(flex)})" if flex else str(error)
            raise RuntimeError(
                f"Expected a model that LiteRT runs. Received: {self._source}, which it does not: "
                f"{reason}. Export it from layers that LiteRT has built in, or run it in an "
                "application that links the Flex delegate."
            ) from error

    def _details(self) -> tuple[dict[str, dict], dict[str, dict]]:
        """Returns the tensors of the inputs and outputs, by the names of the signature."""
        if len(self._interpreter.get_signature_list()) == 1:
            runner = self._interpreter.get_signature_runner()
            return dict(runner.get_input_details()), dict(runner.get_output_details())
        return (
            {detail["name"]: detail for detail in self._interpreter.get_input_details()},
            {detail["name"]: detail for detail in self._interpreter.get_output_details()},
        )

    def _batch_size(self) -> int | None:
        return next(iter(self.inputs.values()))[0][0]

    def _check(self, x: Any) -> dict[str, np.ndarray]:
        """Returns the input arrays by name, in the file's dtypes, if they fit it."""
        given = signature.by_name(x, list(self._inputs))
        missing = [name for name in self._inputs if name not in given]
        if missing:
            raise ValueError(
                f"Expected inputs {list(self._inputs)}. Received: {list(given)}. "
                f"Give a dictionary that has {missing}."
            )
        arrays = {name: np.asarray(given[name]) for name in self._inputs}
        check_shapes(arrays, {name: shape for name, (shape, _) in self.inputs.items()})
        return arrays


def check_shapes(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int | None, ...]]
) -> None:
    """Checks that batches of samples fit the inputs of a model, whatever their number.

    Raises:
        ValueError: If one does not, or if they differ in the number of samples.
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


def flex_ops(content: bytes) -> list[str]:
    """Returns the ops of a .tflite model that only TensorFlow can run, without `Flex`."""
    codes = schema.ModelT.InitFromPackedBuf(content, 0).operatorCodes or []
    custom = [code.customCode.decode() for code in codes if code.customCode]
    return [name.removeprefix("Flex") for name in custom if name.startswith("Flex")]


def _shape(detail: Mapping[str, Any]) -> tuple[int | None, ...]:
    sizes = detail.get("shape_signature", detail["shape"])
    return tuple(None if size < 0 else int(size) for size in sizes)


def _quantize(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Returns real values as the 8-bit integers of an input that has a scale."""
    scales, zeros = _scales(detail)
    if not len(scales):
        return array.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scales[0]) + zeros[0], limits.min, limits.max).astype(
        detail["dtype"]
    )


def _dequantize(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Returns the real values that the 8-bit integers of an output with a scale stand for."""
    scales, zeros = _scales(detail)
    if not len(scales):
        return array
    return (array.astype(np.float32) - np.float32(zeros[0])) * np.float32(scales[0])


def _scales(detail: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    parameters = detail["quantization_parameters"]
    return parameters["scales"], parameters["zero_points"]
