"""A child process that runs a .tflite file, so that a damaged one cannot end this one."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_kd.litert import server as engine

#: Seconds after which an answer is no longer waited for.
PATIENCE = 600.0
_ENGINE = Path(engine.__file__)


class EngineError(Exception):
    """LiteRT's own complaint: the process lives on."""


class EngineProcess:
    """A process with a .tflite file opened in it, which ends with this object.

    Args:
        content: The bytes of the file.
        source: What error messages call it.
        threads: Number of threads.
        xnnpack: Whether the XNNPACK delegate takes over what it can. Defaults to `True`.
        keep_tensors: Whether all tensors can be read. Defaults to `False`.

    Raises:
        EngineError: If LiteRT does not open the file.
        RuntimeError: If LiteRT ends the process over it, or does not come to an end.
    """

    def __init__(
        self,
        content: bytes,
        source: str,
        threads: int,
        xnnpack: bool = True,
        keep_tensors: bool = False,
    ) -> None:
        self._source = source
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            # -P: the modules beside the script are none of its imports.
            [sys.executable, "-P", str(_ENGINE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )
        self.close = weakref.finalize(self, _end, self._process, self._messages)
        try:
            self.ask(
                "open",
                {"content": np.frombuffer(content, "uint8")},
                threads=threads,
                xnnpack=xnnpack,
                keep_tensors=keep_tensors,
            )
        except BaseException:
            self.close()
            raise

    def ask(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **arguments: Any
    ) -> Any:
        """Asks for what a method of `Engine` gives.

        Raises:
            EngineError: If LiteRT complains.
            RuntimeError: If LiteRT ends the process, or does not come to an end.
        """
        late, process = threading.Event(), self._process
        timer = threading.Timer(PATIENCE, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            engine.send(self._process.stdin, [method, arguments], arrays)
            header, answer = engine.receive(self._process.stdout)
        except (EOFError, OSError) as error:
            raise RuntimeError(self._epitaph(late.is_set())) from error
        finally:
            timer.cancel()
        if "error" in header:
            raise EngineError(header["message"].strip() or header["error"])
        return answer or header["answer"]

    def _epitaph(self, late: bool) -> str:
        """Returns what there is to say of a process that is gone."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait()
        self._messages.seek(0)
        end = describe_exit(code, self._messages.read())
        if late:
            end = f"did not come to an end in {PATIENCE:g} seconds."
        return (
            f"Expected a model that LiteRT runs. Received: {self._source}, over which LiteRT {end} "
            "The file is damaged, or has an op that LiteRT gets into trouble with: export the "
            "model again, or from other layers."
        )


def describe_exit(code: int, messages: bytes) -> str:
    """Says how a child came to its end.

    Args:
        code: Its exit status, negative for a signal.
        messages: What it wrote to standard error.
    """
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
    lines = messages.decode(errors="replace").strip().splitlines()
    last = f", its last words: {lines[-1][:300]!r}" if lines else ""
    return f"ended its process {how} (this one lives on){last}."


def _end(process: subprocess.Popen, messages: BinaryIO) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, messages):
        with contextlib.suppress(OSError):  # What could not be written is lost with it.
            stream.close()
