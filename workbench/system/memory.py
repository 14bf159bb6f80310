"""Memory of this process: what it holds, what it held at most, and a limit on what it may take."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path


class Shared:
    """What this process has from the one that it was forked from."""

    file_bytes = 0  # pages of files, such as a library's code, that were in that one's memory at the fork


def memory() -> tuple[int, int]:
    """Resident memory of this process in bytes: (now, high-water mark).

    Read from /proc, because ``ru_maxrss`` keeps the parent's peak across the exec of a child on Linux. A forked process counts
    a library's code only as far as it has run it since; so that its memory can be compared with that of one that was not
    forked, the code that its parent had in memory counts instead, where that is more.
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
    """Resident pages of files, in bytes; 0 where the system does not tell."""
    try:
        return status().get("RssFile", 0)
    except OSError:
        return 0


@contextlib.contextmanager
def at_most(memory_bytes: int | None) -> Iterator[None]:
    """Let allocations fail beyond this, where the system can: the parent looks only twenty times a second."""
    if memory_bytes is None or not sys.platform.startswith("linux"):
        yield
        return
    import resource

    data = status()["VmData"]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    # what is mapped already is more than what is resident, by thread stacks and arenas that are not touched
    resource.setrlimit(resource.RLIMIT_DATA, (data + max(0, memory_bytes - memory()[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def free_bytes() -> int:
    """Memory in bytes that this process can still take: what the machine has free, or less under a control group's limit."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_in_group()])


def _left_in_group() -> list[int]:
    """What the limit of this process's control group (version 2) leaves; empty where there is none."""
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
    """A size in GiB, or in MiB where it is less than one GiB.

    >>> in_gib(30 * 2**20)
    '30.0 MiB'
    """
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MiB"
