"""What this machine is, found without loading any engine library."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from workbench.records import Machine

# The CPU flags that decide which kernels an engine library picks; names as in /proc/cpuinfo.
TELLING_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "amx_fp16",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)


NVIDIA = Path("/proc/driver/nvidia")


@cache
def this_machine() -> Machine:
    """Facts that two results must share before they may be compared."""
    cpuinfo = _cpuinfo()
    flags = set(cpuinfo.get("flags", cpuinfo.get("Features", "")).split())
    return Machine(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        instructions=tuple(name for name in TELLING_INSTRUCTIONS if name in flags),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        gpu=_gpu(),
    )


def usable_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version_of(*distributions: str) -> str:
    """Version of the first of these distributions that is installed, or ``""``; imports nothing."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none (macOS, Windows)."""
    entries: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return entries
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            entries.setdefault(name.strip(), value.strip())
    return entries


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _gpu() -> str:
    """The NVIDIA driver's own list of GPUs, and its version; no CUDA context is made."""
    try:
        models = [
            line.partition(":")[2].strip()
            for gpu in sorted((NVIDIA / "gpus").iterdir())
            for line in (gpu / "information").read_text(encoding="utf-8").splitlines()
            if line.startswith("Model")
        ]
        release = re.search(r" (\d+\.\d+[.\d]*) ", (NVIDIA / "version").read_text(encoding="utf-8"))
    except OSError:
        return ""
    return ", ".join([*models, f"driver {release[1]}"] if models and release else models)
