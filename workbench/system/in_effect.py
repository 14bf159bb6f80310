"""Settings of an engine as they are in the process that runs it: read back, or measured, never repeated from what was asked.

What every engine shares is read here from the process; what only its library knows, a session tells
(:class:`workbench.protocols.TellsSettings`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workbench.records import InEffect

VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "KMP_AFFINITY", "KMP_BLOCKTIME",
    "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "OMP_WAIT_POLICY", "LD_PRELOAD", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES",
)  # fmt: skip
"""Variables of the environment that change how an engine runs; told where they are set."""


def of_process(proc: Path = Path("/proc/self"), environment: Mapping[str, str] = os.environ) -> list[InEffect]:
    """The cores that this process may use, its threads and how many of them are bound, denormals, and telling variables."""
    found = []
    if hasattr(os, "sched_getaffinity"):
        found.append(InEffect("cores", ranges(sorted(os.sched_getaffinity(0))), "sched_getaffinity"))
    masks = _masks(proc / "task")
    if masks:
        widest = max(len(mask) for mask in masks)
        bound = sum(len(mask) < widest for mask in masks)
        value = f"{bound} of {len(masks)} threads" if bound else "none"
        found.append(InEffect("threads bound to cores", value, "Cpus_allowed of every thread"))
    found.append(InEffect("denormals of the calling thread", denormals(), "a denormal made and multiplied"))
    found += [InEffect(name, environment[name], "environment") for name in VARIABLES if environment.get(name)]
    return found


def denormals() -> str:
    """What this thread's floating-point unit does with numbers below the smallest normal one: ``kept``, or ``flushed to zero``
    as results (FTZ), as operands (DAZ) or both.

    Found by doing it in NumPy's FP32 arithmetic. An engine's own threads may be set otherwise.
    """
    import numpy as np

    smallest = np.full(16, np.finfo(np.float32).tiny, np.float32)
    denormal = np.full(16, 1, np.uint32).view(np.float32)  # 1.4e-45, made of bits: no arithmetic could have flushed it
    with np.errstate(all="ignore"):
        results = bool(((smallest * np.float32(0.5)).view(np.uint32) == 0).all())
        operands = bool(((denormal * np.float32(2.0**100)).view(np.uint32) == 0).all())
    if results and operands:
        return "flushed to zero"
    return "results flushed to zero" if results else "operands taken as zero" if operands else "kept"


def ranges(cores: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2,5``, the way the kernel writes it."""
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
        try:
            lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue  # the thread has ended
        told = next((line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")), "")
        if told:
            found.append(frozenset(expanded(told)))
    return found


def expanded(text: str) -> list[int]:
    """The cores in ``0-2,5``.

    Raises:
        ValueError: it is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if high < low or low < 0:
            raise ValueError(text)
        found += range(low, high + 1)
    return found
