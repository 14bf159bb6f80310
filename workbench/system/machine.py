"""A description of this machine, made without loading an engine library."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from workbench.errors import InputError
from workbench.records import Machine, Precision
from workbench.system.in_effect import ranges

# The CPU flags that affect which kernels an engine library uses; names as in /proc/cpuinfo.
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
MULTIPLY: dict[Precision, tuple[str, ...]] = {
    Precision.INT8: ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
    Precision.BF16: ("avx512_bf16", "amx_bf16", "bf16"),
    Precision.FP16: ("avx512_fp16", "amx_fp16", "asimd"),
}
"""Instructions that multiply in this format; one of them is enough. Names as in /proc/cpuinfo."""

NVIDIA = Path("/proc/driver/nvidia")


@cache
def this_machine() -> Machine:
    """The description that two results must share to be comparable."""
    import psutil

    cpuinfo = _cpuinfo()
    flags = set(cpuinfo.get("flags", cpuinfo.get("Features", "")).split())
    return Machine(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        instructions=tuple(name for name in TELLING_INSTRUCTIONS if name in flags),
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        gpu=_gpu(),
    )


def int8_saturates() -> bool:
    """Whether 8-bit vector products of this CPU are added in 16 bits, which saturates: x86-64 without VNNI or AMX."""
    return platform.machine() in ("x86_64", "AMD64") and not set(MULTIPLY[Precision.INT8]) & set(
        this_machine().instructions
    )


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has, as in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(asked: int) -> None:
    """Check that an engine with ``asked`` threads has a core for each.

    Raises:
        InputError: there are fewer cores; threads would share a core, which makes times unreliable.
    """
    here = usable_cores()
    if asked > here:
        raise InputError(
            f"'threads' is {asked}, and this process may use {here} core{'s' * (here > 1)}. Choose at most {here}."
        )


def check_cores(asked: tuple[int, ...]) -> None:
    """Check that a process can be restricted to these cores; no cores mean no restriction.

    Raises:
        InputError: it cannot; the text gives the reason.
    """
    if not asked:
        return
    if not hasattr(os, "sched_getaffinity"):
        raise InputError("'cores' cannot be set: this system does not let a process choose its cores. Leave it empty.")
    here = os.sched_getaffinity(0)
    if missing := sorted(set(asked) - here):
        raise InputError(
            f"'cores' names {ranges(missing)}, and this process may use {ranges(sorted(here))}. Choose from those."
        )


def version_of(*distributions: str) -> str:
    """The version of the first installed distribution of these; ``""``: none is installed. Imports nothing."""
    return next((found for name in distributions if (found := _version(name))), "")


def is_package(module: str) -> bool:
    """Whether a package of this name is installed; imports nothing. A folder that has the name by chance, in the current folder for
    example, is none: Python would import it as a namespace without content.
    """
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def versions_of(*distributions: str) -> list[str]:
    """The version of each distribution; ``""``: it is not installed."""
    return [_version(name) for name in distributions]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty if the file does not exist (macOS, Windows)."""
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


def _gpu() -> str:
    """The GPUs as the NVIDIA driver lists them, and its version; creates no CUDA context."""
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


class Cache(NamedTuple):
    """One level of the CPU's data caches."""

    level: int
    size_bytes: int
    instances: int  # the number of such caches of the usable cores
    cores: int  # that share one cache


def caches(root: Path = Path("/sys/devices/system/cpu")) -> list[Cache]:
    """The levels of cache that hold data, the smallest first; empty if the kernel does not list them.

    Cores that this process may not use are left out.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    found: dict[int, dict[str, int]] = {}
    for core in usable:
        for folder in (root / f"cpu{core}" / "cache").glob("index*"):
            try:
                kind, size, level, shared = (
                    (folder / name).read_text(encoding="ascii").strip()
                    for name in ("type", "size", "level", "shared_cpu_list")
                )
                bytes_of = int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1:], 1)
            except (OSError, ValueError):
                continue
            if kind != "Instruction":
                found.setdefault(int(level), {})[shared] = bytes_of
    return [
        Cache(level, max(sizes.values()), len(sizes), max(1, len(usable) // len(sizes)))
        for level, sizes in sorted(found.items())
    ]
