"""Benchmarks that exist for one test only."""

import sys
from types import SimpleNamespace

from benchmarks.registry import MODULES


def register(monkeypatch, name, run, count=1, report=None):
    """Add a benchmark with `count` jobs to the registry until the test ends; return its module."""
    module = SimpleNamespace(
        plan=lambda done, seeds, quick: [({}, seed) for seed in range(count)],
        run=run,
        report=report or (lambda done: "report"),
    )
    monkeypatch.setitem(MODULES, name, f"benchmarks.{name}")
    monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    return module


def raise_error(cell, seed, quick):
    raise ArithmeticError("this one fails")
