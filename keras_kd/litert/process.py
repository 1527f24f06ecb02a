"""Child process for LiteRT: a file that crashes it does not crash this process."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_kd.litert import server

#: Seconds to wait for the reply to one request.
TIMEOUT = 600.0


class LiteRTError(Exception):
    """An error that LiteRT reports; its process is still running."""


class _Child:
    """A child process that runs one file after the other."""

    #: Closed ones that the next file may use: at most one.
    idle: ClassVar[list["_Child"]] = []

    def __init__(self) -> None:
        self.parent = os.getpid()
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            # -P: do not import the modules beside the script.
            [sys.executable, "-P", str(Path(server.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
        )
        #: Whether all requests succeeded.
        self.is_sound = True

    @classmethod
    def take(cls) -> "_Child":
        """Return an idle child process, or start one."""
        with contextlib.suppress(IndexError):
            child = cls.idle.pop()
            # After a fork, the idle one is that of the parent.
            if child.parent == os.getpid() and child.process.poll() is None:
                child.messages.seek(0)
                child.messages.truncate()
                return child
        return cls()

    def release(self) -> None:
        """Close the file; keep the process for the next file, or end it."""
        with contextlib.suppress(OSError, ValueError):
            if self.is_sound and not self.idle:
                server.send(self.process.stdin, ["close", {}])
                self.idle.append(self)
                return
        self.end()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.messages):
            with contextlib.suppress(OSError):  # Unwritten data is lost with the process.
                stream.close()


@atexit.register
def end_idle_processes() -> None:
    """End the processes that wait for the next file."""
    while _Child.idle:
        _Child.idle.pop().end()


class ServerProcess:
    """A child process with a .tflite file opened in it.

    A closed one is kept for the next file, which saves its start; one in which a request failed
    ends.

    Args:
        content: The bytes of the file.
        source: Name of the file in error messages.
        threads: Number of threads.
        xnnpack: Whether to use the XNNPACK delegate. Defaults to `True`.
        keep_tensors: Whether all tensors can be read. Defaults to `False`.
        new: Whether the process must not have run another file, as to measure its memory. Defaults
            to `False`.

    Raises:
        LiteRTError: If LiteRT does not open the file.
        RuntimeError: If the process crashes or does not reply in time.
    """

    def __init__(
        self,
        content: bytes,
        source: str,
        threads: int,
        xnnpack: bool = True,
        keep_tensors: bool = False,
        new: bool = False,
    ) -> None:
        self._source = source
        self._child = _Child() if new else _Child.take()
        self._process = self._child.process
        self.close = weakref.finalize(self, self._child.release)
        try:
            self.request(
                "open",
                {"content": np.frombuffer(content, "uint8")},
                threads=threads,
                xnnpack=xnnpack,
                keep_tensors=keep_tensors,
            )
        except BaseException:
            self.close()
            raise

    def request(
        self, method: str, arrays: Mapping[str, np.ndarray] | None = None, **arguments: Any
    ) -> Any:
        """Call a method of `InterpreterServer` in the process and return its result.

        Raises:
            LiteRTError: If LiteRT reports an error.
            RuntimeError: If the process crashes or does not reply in time.
        """
        late, process = threading.Event(), self._process
        sound, self._child.is_sound = self._child.is_sound, False
        timer = threading.Timer(TIMEOUT, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            server.send(self._process.stdin, [method, arguments], arrays)
            header, results = server.receive(self._process.stdout)
        except (EOFError, OSError) as error:
            raise RuntimeError(self._describe_crash(late.is_set())) from error
        finally:
            timer.cancel()
        if "error" in header:
            raise LiteRTError(header["message"].strip() or header["error"])
        self._child.is_sound = sound
        return results or header["result"]

    def _describe_crash(self, timed_out: bool) -> str:
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait()
        self._child.messages.seek(0)
        crash = describe_exit(code, self._child.messages.read())
        if timed_out:
            crash = f"did not finish within {TIMEOUT:g} seconds."
        return (
            f"Expected a model that LiteRT can run. Received: {self._source}, with which LiteRT "
            f"{crash} The file is damaged, or LiteRT fails on one of its ops: export the model "
            "again, or from other layers."
        )


def describe_exit(code: int, messages: bytes) -> str:
    """Describe how a child process ended."""
    cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    lines = messages.decode(errors="replace").strip().splitlines()
    last = f". Its last message: {lines[-1][:300]!r}" if lines else ""
    return f"crashed in its own process with {cause}{last}."
