"""Description of the machine."""

import platform

import pytest

from benchmarks.runner import machine as module


def test_machine_names_system_and_cores():
    assert module.machine().endswith(platform.system())
    assert " cores, " in module.machine()


@pytest.mark.parametrize(
    ("flags", "shown", "bfloat16"),
    [
        ({"avx2", "amx_bf16", "sse"}, "CPU (avx2, amx_bf16)", True),
        (set(), "CPU (no AVX2)", False),
    ],
)
def test_instructions_for_low_precision_are_listed(monkeypatch, flags, shown, bfloat16):
    monkeypatch.setattr(module, "_cpu", lambda: ("CPU", flags))
    assert module.processor() == shown
    assert module.has_bfloat16() is bfloat16
