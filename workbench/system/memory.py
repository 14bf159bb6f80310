"""Memory of this process: current and peak use, and a limit on allocations."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import InputError

LEAST_BYTES = 2 * 2**30
"""Virtual memory that a run needs at least: its process reserves about 1.1 GiB for its libraries and threads."""


class Shared:
    """Memory that this process shares with the one that it was forked from."""

    file_bytes = 0  # pages of files, such as library code, in the parent's memory at the fork


def memory() -> tuple[int, int]:
    """Resident memory of this process in bytes: (current, peak).

    Read from /proc, because ``ru_maxrss`` keeps the parent's peak across the exec of a child on Linux. A forked process counts
    only the library code that it has run since the fork. To make it comparable with a process that was not forked, the code that
    its parent had in memory counts instead, if that is more.
    """
    try:
        found = status()
        missing = max(0, Shared.file_bytes - found.get("RssFile", 0))
        return found["VmRSS"] + missing, found["VmHWM"] + missing
    except (OSError, KeyError, IndexError):
        import resource

        import psutil

        unit = 1 if sys.platform == "darwin" else 1024
        return psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status() -> dict[str, int]:
    """The sizes in /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def file_bytes() -> int:
    """Resident pages of files, in bytes; 0 if the system does not report them."""
    try:
        return status().get("RssFile", 0)
    except OSError:
        return 0


@contextlib.contextmanager
def at_most(memory_bytes: int | None) -> Iterator[None]:
    """Make allocations above this limit fail, on Linux, because the parent checks only twenty times a second."""
    if memory_bytes is None or not sys.platform.startswith("linux"):
        yield
        return
    import resource

    data = status()["VmData"]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    # mapped memory exceeds resident memory by unused thread stacks and arenas
    resource.setrlimit(resource.RLIMIT_DATA, (data + max(0, memory_bytes - memory()[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def check_limits() -> None:
    """Refuse limits of virtual memory with which libraries do not end: OpenBLAS asks for memory until it gets some.

    Raises:
        InputError: the limit of virtual memory or of data is below :data:`LEAST_BYTES`.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    for number, option in ((resource.RLIMIT_AS, "-v"), (resource.RLIMIT_DATA, "-d")):
        limit = resource.getrlimit(number)[0]
        if 0 <= limit < LEAST_BYTES:
            raise InputError(
                f"The limit 'ulimit {option}' allows a process {in_gib(limit)} of memory, and a run needs at least {in_gib(LEAST_BYTES)}. "
                f"Raise it, for example with: ulimit {option} {LEAST_BYTES // 1024}"
            )


def free_bytes() -> int:
    """Memory in bytes that this process can still allocate: the machine's free memory, or less by a control group's limit."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_in_group()])


def _left_in_group() -> list[int]:
    """Bytes left by the limit of this process's control group (version 2); empty: no limit."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition("::")[2]
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        folder = folder if (folder / "memory.max").is_file() else Path("/sys/fs/cgroup")
        most = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        return [] if most == "max" else [max(0, int(most) - used)]
    except (OSError, ValueError):
        return []


def in_gib(size_bytes: int) -> str:
    """Format a size in GiB, or in MiB if it is less than one GiB.

    >>> in_gib(30 * 2**20)
    '30.0 MiB'
    """
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MiB"
