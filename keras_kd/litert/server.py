"""Child process that runs .tflite files: `python server.py` serves requests over a pipe.

A damaged file can crash the process that runs it, so LiteRT never runs in the user's process. This
file is started as a script and imports only NumPy and LiteRT, which keeps its start short.
"""

import contextlib
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

#: Key of a file without signatures.
NO_SIGNATURE = ""
_MEMORY_LIMIT = 8 * 2**30  # Bytes that the process may allocate after its start.


class InterpreterServer:
    """A .tflite file opened by LiteRT, with one method per kind of request.

    Args:
        content: The bytes of the file.
        threads: Number of threads.
        xnnpack: Whether to use the XNNPACK delegate.
        keep_tensors: Whether to keep the values of all tensors for `tensors`.
    """

    def __init__(self, content: bytes, threads: int, xnnpack: bool, keep_tensors: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._memory_before = _memory_usage()
        resolver = OpResolverType.AUTO
        if keep_tensors or not xnnpack:
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
            self._interpreter = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
            )

    def describe(self) -> dict[str, Any]:
        """Return the inputs and outputs of each signature, by name."""
        signatures = self._interpreter.get_signature_list()
        if not signatures:
            inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
            outputs = {d["name"]: d for d in self._interpreter.get_output_details()}
            return {NO_SIGNATURE: _as_json(inputs, outputs)}
        # `invoke` fails while a signature runner exists, so none is kept.
        runners = {key: self._interpreter.get_signature_runner(key) for key in signatures}
        return {
            key: _as_json(runner.get_input_details(), runner.get_output_details())
            for key, runner in runners.items()
        }

    def allocate(self) -> None:
        """Allocate the tensors. Fails if LiteRT has no kernel for an op."""
        self._interpreter.allocate_tensors()

    def run(self, signature: str, step: int, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Run samples in batches of `step` and return the outputs by name."""
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
        """Time runs of the main graph on its last input, at most for some seconds."""
        times, end = [], time.perf_counter() + seconds
        while len(times) < runs and (not times or time.perf_counter() < end):
            start = time.perf_counter_ns()
            self._interpreter.invoke()
            times.append(time.perf_counter_ns() - start)
        return {"nanoseconds": np.array(times, "int64")}

    def memory(self) -> int | None:
        """Return the peak memory in bytes, without the start, the file and LiteRT's code."""
        now = _memory_usage()
        if not self._memory_before or not now:
            return None
        code = now["RssFile"] - self._memory_before["RssFile"]
        return max(now["VmHWM"] - self._memory_before["VmRSS"] - code, 0)

    def tensors(self, names: list[str]) -> dict[str, np.ndarray]:
        """Return the dequantized values of some tensors in the last run, by name."""
        found = {}
        for detail in self._interpreter.get_tensor_details():
            if detail["name"] not in names or np.dtype(detail["dtype"]).kind not in "fiu":
                continue
            with contextlib.suppress(ValueError):  # Some tensors are never filled.
                values = self._interpreter.get_tensor(detail["index"])
                found[detail["name"]] = dequantize(values, detail["quantization_parameters"])
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


def dequantize(array: np.ndarray, quantization: Mapping[str, Any]) -> np.ndarray:
    """Return the real values of a tensor; one without scales is returned unchanged."""
    scales, zeros = (np.asarray(quantization[key]) for key in ("scales", "zero_points"))
    if not len(scales):
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[quantization["quantized_dimension"]] = len(scales)
    # In float64 the difference of the integers is exact and the product is rounded once.
    shifted = array.astype("float64") - zeros.reshape(shape if len(zeros) > 1 else ())
    return (shifted * scales.reshape(shape if len(scales) > 1 else ())).astype("float32")


def send(stream: BinaryIO, header: Any, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write one message: a line of JSON followed by the bytes of the arrays."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    specs = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    stream.write(json.dumps([header, specs]).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view("uint8").data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Any, dict[str, np.ndarray]]:
    """Read one message.

    Raises:
        EOFError: If the other process has ended.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header, specs = json.loads(line)
    return header, {name: _read_array(stream, dtype, shape) for name, dtype, shape in specs}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Process requests until the stream ends: "open" and "close" a file, and its methods.

    "close" has no reply.
    """
    server = None
    while True:
        try:
            (method, arguments), arrays = receive(requests)
        except EOFError:
            return
        if arrays:
            arguments["arrays"] = arrays
        if method == "close":
            server = None
            continue
        try:
            if method == "open":
                content = arguments.pop("arrays")["content"].tobytes()
                server, result = InterpreterServer(content, **arguments), None
            else:
                result = getattr(server, method)(**arguments)
        except Exception as error:  # The parent process reports any error of LiteRT.
            send(replies, {"error": type(error).__name__, "message": str(error)})
            continue
        binary = isinstance(result, dict) and all(
            isinstance(value, np.ndarray) for value in result.values()
        )
        send(replies, {"result": None if binary else result}, result if binary else None)


def _as_json(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of input and output tensors as JSON values."""
    sides = {"inputs": inputs, "outputs": outputs}
    return {
        side: {name: _tensor_as_json(detail) for name, detail in details.items()}
        for side, details in sides.items()
    }


def _tensor_as_json(detail: Mapping[str, Any]) -> dict[str, Any]:
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


def _memory_usage() -> dict[str, int]:
    """Return the memory in use in bytes and reset its peak; empty on systems other than Linux."""
    try:
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return {}
    return {key: int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM", "RssFile")}


def _limit_memory() -> None:
    """Make a damaged tensor size fail immediately, before it exhausts the machine's memory."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limit = used + _MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return  # Another system, or a lower limit is set already.


if __name__ == "__main__":
    # Ctrl-C reaches the process too; its parent decides whether it runs another file.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    # Output that LiteRT prints goes to standard error, not between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies)
