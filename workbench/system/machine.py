"""What this machine is, found without loading any engine library."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from workbench.errors import InputError
from workbench.records import Machine
from workbench.system.in_effect import ranges

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


def check_threads(asked: int) -> None:
    """Has this machine as many cores as an engine may use threads?

    Raises:
        InputError: no; the threads would take turns on a core, and times would say little.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if asked > here:
        raise InputError(
            f"'threads' is {asked}, and this process may use {here} core{'s' * (here > 1)}. Choose at most {here}."
        )


def check_cores(asked: tuple[int, ...]) -> None:
    """Can a process be held to these cores here?

    Raises:
        InputError: no, and why; for none there is nothing to ask.
    """
    if not asked:
        return
    if not hasattr(os, "sched_getaffinity"):
        raise InputError("'cores' cannot be set: this system does not let a process choose its cores. Leave it empty.")
    here = os.sched_getaffinity(0)
    if missing := sorted(set(asked) - here):
        raise InputError(
            f"'cores' names {ranges(missing)}, and this process may use {ranges(sorted(here))}. Choose among those."
        )


_looked_up: ContextVar[dict[tuple[str, ...], str] | None] = ContextVar("versions that were looked up", default=None)


@contextmanager
def same_versions() -> Iterator[None]:
    """Within it each version is looked up once, which takes half a millisecond: for naming many artefacts in a row."""
    token = _looked_up.set({})
    try:
        yield
    finally:
        _looked_up.reset(token)


def version_of(*distributions: str) -> str:
    """Version of the first of these distributions that is installed, or ``""``; imports nothing."""
    known = _looked_up.get()
    if known is None:
        return _version_of(distributions)
    if distributions not in known:
        known[distributions] = _version_of(distributions)
    return known[distributions]


def _version_of(distributions: tuple[str, ...]) -> str:
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


class Cache(NamedTuple):
    """One level of the CPU's data caches."""

    level: int
    size_bytes: int
    instances: int  # how many of them the usable cores share among them
    cores: int  # that share one


def caches(root: Path = Path("/sys/devices/system/cpu")) -> list[Cache]:
    """The levels of cache that hold data, the smallest first; empty where the kernel does not tell.

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
