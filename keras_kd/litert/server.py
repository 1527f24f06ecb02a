"""LiteRT itself, in a process of its own: `python engine.py` serves one .tflite file over a pipe.

A damaged file can end the process that runs it, so none runs in the user's. This file is started as
a script and imports NumPy and LiteRT only, so that it is there in a fifth of a second.
"""

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

#: The signature of a file that has none.
NO_SIGNATURE = ""
_MEMORY = 8 * 2**30  # bytes that the process may ask for beyond what it starts with


class Engine:
    """A .tflite file, opened by LiteRT; each method answers one kind of request.

    Args:
        content: The bytes of the file.
        threads: Number of threads.
        xnnpack: Whether the XNNPACK delegate takes over what it can.
        keep_tensors: Whether the values of all tensors are kept for `tensors`.
    """

    def __init__(self, content: bytes, threads: int, xnnpack: bool, keep_tensors: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._before = _memory()
        plain = keep_tensors or not xnnpack
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
            self._interpreter = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                if plain
                else OpResolverType.AUTO,
                experimental_preserve_all_tensors=keep_tensors,
            )

    def describe(self) -> dict[str, Any]:
        """Returns the inputs and outputs of each signature, by their names."""
        signatures = self._interpreter.get_signature_list()
        if not signatures:
            inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
            outputs = {d["name"]: d for d in self._interpreter.get_output_details()}
            return {NO_SIGNATURE: _plain(inputs, outputs)}
        # A runner that is kept would keep the interpreter from `invoke`.
        runners = {key: self._interpreter.get_signature_runner(key) for key in signatures}
        return {
            key: _plain(runner.get_input_details(), runner.get_output_details())
            for key, runner in runners.items()
        }

    def allocate(self) -> None:
        """Makes room for the tensors, which fails where LiteRT has no kernel for an op."""
        self._interpreter.allocate_tensors()

    def run(self, signature: str, step: int, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Runs samples, `step` at a time, and returns the outputs by their names."""
        total = len(next(iter(arrays.values())))
        call = self._run_without_signature
        if signature != NO_SIGNATURE:
            call = self._interpreter.get_signature_runner(signature)
        parts = [
            call(**{name: array[start : start + step] for name, array in arrays.items()})
            for start in range(0, total, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def time(self, runs: int, seconds: float) -> dict[str, np.ndarray]:
        """Times runs of the main graph on what it ran last, and stops after some seconds."""
        times, end = [], time.perf_counter() + seconds
        while len(times) < runs and (not times or time.perf_counter() < end):
            start = time.perf_counter_ns()
            self._interpreter.invoke()
            times.append(time.perf_counter_ns() - start)
        return {"nanoseconds": np.array(times, "int64")}

    def memory(self) -> int | None:
        """Returns the peak of the bytes in use, less those before, the file's and LiteRT's code."""
        now = _memory()
        if not self._before or not now:
            return None
        code = now["RssFile"] - self._before["RssFile"]
        return max(now["VmHWM"] - self._before["VmRSS"] - code, 0)

    def tensors(self, names: list[str]) -> dict[str, np.ndarray]:
        """Returns the real numbers that some tensors held or stood for in the last run, by name."""
        found = {}
        for detail in self._interpreter.get_tensor_details():
            if detail["name"] not in names or np.dtype(detail["dtype"]).kind not in "fiu":
                continue
            with contextlib.suppress(ValueError):  # Some tensors are never filled.
                values = self._interpreter.get_tensor(detail["index"])
                found[detail["name"]] = dequantized(values, detail["quantization_parameters"])
        return found

    def _run_without_signature(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
        for name, array in arrays.items():
            self._interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
        self._interpreter.allocate_tensors()
        for name, array in arrays.items():
            self._interpreter.set_tensor(inputs[name]["index"], array)
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return {d["name"]: self._interpreter.get_tensor(d["index"]) for d in outputs}


def dequantized(array: np.ndarray, quantization: Mapping[str, Any]) -> np.ndarray:
    """Returns the real values that the integers of a tensor with scales stand for."""
    scales, zeros = (np.asarray(quantization[key]) for key in ("scales", "zero_points"))
    if not len(scales):
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[quantization["quantized_dimension"]] = len(scales)
    # In float64, then rounded once: a difference of integers is exact.
    shifted = array.astype("float64") - zeros.reshape(shape if len(zeros) > 1 else ())
    return (shifted * scales.reshape(shape if len(scales) > 1 else ())).astype("float32")


def send(stream: BinaryIO, header: Any, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes one message: a line of JSON, then the arrays' bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    specs = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    stream.write(json.dumps([header, specs]).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view("uint8").data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads one message.

    Raises:
        EOFError: If the other side is gone.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header, specs = json.loads(line)
    return header, {name: _read_array(stream, dtype, shape) for name, dtype, shape in specs}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers requests until there are no more; the first one opens the file."""
    engine = None
    while True:
        try:
            (method, arguments), arrays = receive(requests)
        except EOFError:
            return
        if arrays:
            arguments["arrays"] = arrays
        try:
            if engine is None:
                content = arguments.pop("arrays")["content"].tobytes()
                engine, answer = Engine(content, **arguments), None
            else:
                answer = getattr(engine, method)(**arguments)
        except Exception as error:  # Whatever it is, the other side says it in its own words.
            send(replies, {"error": type(error).__name__, "message": str(error)})
            continue
        whole = isinstance(answer, dict) and all(isinstance(v, np.ndarray) for v in answer.values())
        send(replies, {"answer": None if whole else answer}, answer if whole else None)


def _plain(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the details of tensors in plain values, as JSON has them."""
    ends = {"inputs": inputs, "outputs": outputs}
    return {end: {name: _end(d) for name, d in details.items()} for end, details in ends.items()}


def _end(detail: Mapping[str, Any]) -> dict[str, Any]:
    quantization = detail["quantization_parameters"]
    return {
        "tensor": detail["name"],
        "shape": [int(size) for size in detail.get("shape_signature", detail["shape"])],
        "dtype": np.dtype(detail["dtype"]).str,
        "scales": quantization["scales"].tolist(),
        "zero_points": quantization["zero_points"].tolist(),
    }


def _read_array(stream: BinaryIO, dtype: str, shape: list[int]) -> np.ndarray:
    array = np.empty(shape, dtype)
    view = memoryview(array.reshape(-1).view("uint8"))
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]
    return array


def _memory() -> dict[str, int]:
    """Returns the bytes in use, empty where the system does not say, and begins a new peak."""
    try:
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return {}
    return {key: int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM", "RssFile")}


def _limit_memory() -> None:
    """Lets a damaged size fail at once, not when the machine has no memory left."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    except (ImportError, OSError, ValueError):
        return  # Another system, or a lower limit already.


if __name__ == "__main__":
    _limit_memory()
    # What LiteRT prints is none of the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
