"""Memory of this process: what it holds, what it held at most, and a limit on what it may take."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


def memory() -> tuple[int, int]:
    """Resident memory of this process in bytes: (now, high-water mark).

    Read from /proc, because ``ru_maxrss`` keeps the parent's peak across the exec of a child on Linux.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        return int(values["VmRSS"]) * 1024, int(values["VmHWM"]) * 1024
    except (OSError, KeyError, IndexError):
        import resource

        import psutil

        unit = 1 if sys.platform == "darwin" else 1024
        return psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextlib.contextmanager
def at_most(memory_bytes: int | None) -> Iterator[None]:
    """Let allocations fail beyond this, where the system can: the parent looks only twenty times a second."""
    if memory_bytes is None or not sys.platform.startswith("linux"):
        yield
        return
    import resource

    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    data = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    # what is mapped already is more than what is resident, by thread stacks and arenas that are not touched
    resource.setrlimit(resource.RLIMIT_DATA, (data + max(0, memory_bytes - memory()[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
