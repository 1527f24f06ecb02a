"""Description of the machine that a benchmark runs on."""

import platform
import re
from pathlib import Path

import joblib

#: Instructions that decide how fast int8 and bfloat16 are.
INSTRUCTIONS = ("avx2", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")


def machine():
    """Return the processor, the cores available to this process, and the system."""
    return f"{processor()}, {joblib.cpu_count()} cores, {platform.system()}"


def processor():
    """Return the processor and its instructions for low precision."""
    model, flags = _cpu()
    known = [flag for flag in INSTRUCTIONS if flag in flags]
    return f"{model} ({', '.join(known) or 'no AVX2'})"


def has_bfloat16():
    """Return whether the processor reports instructions to multiply bfloat16."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu()[1])


def _cpu():
    """Return the name and the flags of the processor."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    fields = dict(re.findall(r"^(model name|flags)\s*: (.*)$", text, re.MULTILINE))
    return fields.get("model name", platform.machine()), set(fields.get("flags", "").split())
