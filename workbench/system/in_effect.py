"""The settings of an engine that are in effect in its process: read back or measured, never copied from the request.

Settings of the process are read here; a session reports those of its library (:class:`workbench.protocols.ReportsSettings`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workbench.records import InEffect
from workbench.system.kernel_files import text_of

VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "KMP_AFFINITY", "KMP_BLOCKTIME",
    "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "OMP_WAIT_POLICY", "LD_PRELOAD", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES",
)  # fmt: skip
"""Environment variables that change how an engine runs; reported if they are set."""


def of_process(proc: Path = Path("/proc/self"), environment: Mapping[str, str] = os.environ) -> list[InEffect]:
    """The cores that this process may use, its bound threads, denormals, and relevant environment variables."""
    found = []
    if hasattr(os, "sched_getaffinity"):
        found.append(InEffect("cores", ranges(sorted(os.sched_getaffinity(0))), "sched_getaffinity"))
    if masks := _masks(proc / "task"):
        widest = max(len(mask) for mask in masks)
        bound = sum(len(mask) < widest for mask in masks)
        value = f"{bound} of {len(masks)} threads" if bound else "none"
        found.append(InEffect("threads bound to cores", value, "Cpus_allowed of every thread"))
    found.append(InEffect("denormals of the calling thread", denormals(), "a denormal made and multiplied"))
    found += [InEffect(name, environment[name], "environment") for name in VARIABLES if environment.get(name)]
    return found


def denormals() -> str:
    """How this thread's floating-point unit treats numbers below the smallest normal one: ``kept``, or ``flushed to zero``
    as results (FTZ), as operands (DAZ) or both.

    Determined by a test in NumPy's FP32 arithmetic. An engine's own threads may differ.
    """
    import numpy as np

    smallest = np.full(16, np.finfo(np.float32).tiny, np.float32)
    # 1.4e-45, created from bits, because arithmetic could flush it
    denormal = np.full(16, 1, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        results = bool(((smallest * np.float32(0.5)).view(np.uint32) == 0).all())
        operands = bool(((denormal * np.float32(2.0**100)).view(np.uint32) == 0).all())
    if results and operands:
        return "flushed to zero"
    return "results flushed to zero" if results else "operands taken as zero" if operands else "kept"


def ranges(cores: list[int]) -> str:
    """Format core numbers as the kernel does.

    >>> ranges([0, 1, 2, 5])
    '0-2,5'
    """
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], core]
        else:
            parts.append([core])
    return ",".join("-".join(map(str, part)) for part in parts)


def _masks(tasks: Path) -> list[frozenset[int]]:
    """The cores that each thread may use."""
    found = []
    for status in tasks.glob("*/status"):
        lines = text_of(status).splitlines()  # none: the thread has ended
        allowed = next((line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")), "")
        if allowed:
            found.append(frozenset(expanded(allowed)))
    return found


def expanded(text: str) -> list[int]:
    """Parse core numbers as the kernel writes them.

    >>> expanded("0-2,5")
    [0, 1, 2, 5]

    Raises:
        ValueError: the text is not such a list.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if high < low or low < 0:
            raise ValueError(text)
        found += range(low, high + 1)
    return found
