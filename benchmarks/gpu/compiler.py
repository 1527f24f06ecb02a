"""Compile programs in threads, while the device trains."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import jax


class Compiler:
    """Builds and compiles programs in threads.

    Args:
        threads: Number of programs that are compiled at once.
        report: Function that prints a line.
    """

    def __init__(self, threads, report):
        self.pool, self.report = ThreadPoolExecutor(threads), report
        self.tracing = Lock()

    def submit(self, name, make):
        """Return a future of a compiled program.

        Args:
            name: What it is called in the log.
            make: Function that returns a jitted function and arguments of the right shapes.
        """
        return self.pool.submit(self._compile, name, make)

    def _compile(self, name, make):
        with self.tracing:  # Python would run two at once no faster.
            start = time.perf_counter()
            function, arguments = make()
            lowered = function.lower(*jax.tree.map(_shape, arguments))
            traced = time.perf_counter()
        compiled = lowered.compile()
        seconds = time.perf_counter() - traced
        self.report(f"{name}: traced in {traced - start:.1f} s, compiled in {seconds:.1f} s")
        return compiled


def _shape(value):
    return jax.ShapeDtypeStruct(value.shape, value.dtype)
