"""What the system counts while a block is timed: the load by others, waiting for a core, page faults, clocks, throttling.

Linux tells through ``/proc`` and ``/sys``; elsewhere only what ``getrusage`` knows is found, and the rest is ``None``.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from workbench.records import Surroundings

PROC, SYS = Path("/proc"), Path("/sys/devices/system/cpu")
BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; time of guests is in the first two
STOLEN = 7


class Counters(NamedTuple):
    """Running totals, to be subtracted from later ones."""

    own_cpu_s: float
    thread_cpu_s: float
    busy_s: float | None
    stolen_s: float | None
    waited_s: float | None
    throttles: int | None
    usage: tuple[int, int, int, int] | None  # minor and major faults, voluntary and involuntary switches


def counters() -> Counters:
    """The totals now. Takes about 0.1 ms, outside the timed calls."""
    busy_s, stolen_s = stat_seconds(_text(PROC / "stat"), os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
    waited_s = waiting_seconds(_text(PROC / "thread-self" / "schedstat"))
    return Counters(time.process_time(), time.thread_time(), busy_s, stolen_s, waited_s, _throttles(), _usage())


def between(before: Counters, after: Counters) -> Surroundings:
    """What happened from one reading to a later one by the same process."""
    usage: list[int | None] = [None] * 4
    if before.usage and after.usage:
        usage = [late - early for early, late in zip(before.usage, after.usage, strict=True)]
    busy_s = _more(before.busy_s, after.busy_s)
    # ticks are counted whole, so that a process alone on the machine may seem to use more than everybody
    others_s = None if busy_s is None else max(0.0, busy_s - (after.own_cpu_s - before.own_cpu_s))
    heat = None if before.throttles is None or after.throttles is None else after.throttles - before.throttles
    return Surroundings(
        cores=os.cpu_count() or 1,
        others_cpu_s=others_s,
        stolen_s=_more(before.stolen_s, after.stolen_s),
        waited_s=_more(before.waited_s, after.waited_s),
        minor_faults=usage[0],
        major_faults=usage[1],
        voluntary_switches=usage[2],
        involuntary_switches=usage[3],
        mhz=_mhz(),
        throttles=heat,
        worked_s=after.thread_cpu_s - before.thread_cpu_s,
    )


def stat_seconds(text: str, ticks_per_s: int) -> tuple[float | None, float | None]:
    """CPU seconds that all cores were busy and that a hypervisor took, from ``/proc/stat`` (proc_stat(5))."""
    words = text.partition("\n")[0].split()
    if len(words) <= STOLEN + 1 or words[0] != "cpu":
        return None, None
    ticks = [int(word) for word in words[1:]]
    return sum(ticks[place] for place in BUSY) / ticks_per_s, ticks[STOLEN] / ticks_per_s


def waiting_seconds(text: str) -> float | None:
    """Seconds that a thread waited on a run queue, from its ``schedstat`` (the kernel's Documentation/scheduler/sched-stats)."""
    words = text.split()
    # without CONFIG_SCHED_INFO the file is there and holds zeros: a thread that reads it has run for some time
    return int(words[1]) * 1e-9 if len(words) == 3 and words[0] != "0" else None


def _more(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _usage() -> tuple[int, int, int, int] | None:
    try:
        import resource
    except ImportError:
        return None
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_minflt, found.ru_majflt, found.ru_nvcsw, found.ru_nivcsw


@cache
def _throttle_files() -> tuple[Path, ...]:
    return tuple(sorted(SYS.glob("cpu*/thermal_throttle/*_throttle_count")))


def _throttles() -> int | None:
    texts = [text for text in map(_text, _throttle_files()) if text.strip().isdigit()]
    return sum(map(int, texts)) if texts else None


def _mhz() -> float | None:
    """The clock of the core that runs this: by the frequency driver where there is one, else as ``/proc/cpuinfo`` has it."""
    try:
        core = int(_text(PROC / "thread-self" / "stat").rpartition(")")[2].split()[36])
    except (ValueError, IndexError):
        return None
    text = _text(SYS / f"cpu{core}" / "cpufreq" / "scaling_cur_freq")
    if text.strip().isdigit():
        return int(text) / 1000
    return cpuinfo_mhz(_text(PROC / "cpuinfo"), core)


def cpuinfo_mhz(text: str, core: int) -> float | None:
    """The line ``cpu MHz`` of one core in the text of ``/proc/cpuinfo``."""
    here = False
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "processor":
            here = value.strip() == str(core)
        elif here and name.strip() == "cpu MHz":
            return float(value)
    return None
