"""What a benchmark ran on."""

import platform
import re
from pathlib import Path

import joblib

#: Instructions that decide how fast int8 and bfloat16 are.
INSTRUCTIONS = ("avx2", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")


def machine():
    """Processor, cores that this process may use, system."""
    return f"{processor()}, {joblib.cpu_count()} cores, {platform.system()}"


def processor():
    """The processor, and which of its instructions low precision lives on."""
    model, flags = _cpu()
    known = [flag for flag in INSTRUCTIONS if flag in flags]
    return f"{model} ({', '.join(known) or 'no AVX2'})"


def has_bfloat16():
    """Whether the processor says that it multiplies bfloat16."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu()[1])


def _cpu():
    """The processor's name and its flags."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    fields = dict(re.findall(r"^(model name|flags)\s*: (.*)$", text, re.MULTILINE))
    return fields.get("model name", platform.machine()), set(fields.get("flags", "").split())
