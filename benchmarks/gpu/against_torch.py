"""PyTorch's steps in a process of its own, on the same card.

It runs in this Python if that has PyTorch, or in the one that `KERAS_KD_TORCH` names.
"""

import contextlib
import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.gpu.networks import PAIRS, TINY
from benchmarks.speed.against_torch import torch_python
from examples.cifar100_networks import RESNET, VGG


def python():
    """Return a Python that has PyTorch, or `None`."""
    return sys.executable if importlib.util.find_spec("torch") else torch_python()


class TorchProcess(contextlib.AbstractContextManager):
    """The process of one pair; it compiles while this one does.

    Args:
        pair: Name in `PAIRS`.
        batch: Samples in a step.
    """

    def __init__(self, pair, batch):
        script = Path(__file__).with_name("torch_process.py")
        networks = [json.dumps(describe(name)) for name in PAIRS[pair]]
        command = [python(), script, *networks, str(batch)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def runs(self):
        """Wait until the process is ready; return functions by name that run a number of steps.

        Raises:
            RuntimeError: If the process has ended.
        """
        names = self._read().split()[1:]
        return {name: partial(self._run, name) for name in names}

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def _run(self, name, count):
        print(name, count, file=self.process.stdin, flush=True)
        self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"PyTorch's process ended with code {self.process.wait()}.")
        return line


def describe(name):
    """Return a network as `torch_process.py` takes it."""
    if name in RESNET:
        return ["resnet", RESNET[name]]
    return ["vgg", VGG[name] if name in VGG else [[width] for width in TINY[name]]]
