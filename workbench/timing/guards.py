"""System counters around a timed block: CPU use by others, waiting for a core, page faults, clocks, throttling.

On Linux they are read from ``/proc`` and ``/sys``; elsewhere only the values of ``getrusage`` are available, and the others are ``None``.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from workbench.records import Surroundings
from workbench.system.kernel_files import text_of

PROC, SYS = Path("/proc"), Path("/sys/devices/system/cpu")
BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; time of guests is in the first two
STOLEN = 7


class Counters(NamedTuple):
    """Cumulative counters; differences of two readings are used."""

    own_cpu_s: float
    thread_cpu_s: float
    busy_s: float | None
    stolen_s: float | None
    waited_s: float | None
    throttles: int | None
    slept_s: float | None
    usage: tuple[int, int, int, int] | None  # minor and major faults, voluntary and involuntary switches


def counters() -> Counters:
    """Read the counters. Takes about 0.1 ms, outside the timed calls."""
    busy_s, stolen_s = stat_seconds(text_of(PROC / "stat"), os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
    waited_s = waiting_seconds(text_of(PROC / "thread-self" / "schedstat"))
    return Counters(
        time.process_time(), time.thread_time(), busy_s, stolen_s, waited_s, _throttles(), _slept(), _usage()
    )


def between(before: Counters, after: Counters) -> Surroundings:
    """The differences between two readings by the same process."""
    usage: list[int | None] = [None] * 4
    if before.usage and after.usage:
        usage = [late - early for early, late in zip(before.usage, after.usage, strict=True)]
    busy_s = _more(before.busy_s, after.busy_s)
    # ticks are whole numbers, so a process alone on the machine may seem to use more than the total
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
        slept_s=_more(before.slept_s, after.slept_s),
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
    # without CONFIG_SCHED_INFO the file holds zeros; a thread that reads it has a run time above zero
    return int(words[1]) * 1e-9 if len(words) == 3 and words[0] != "0" else None


def _slept() -> float | None:
    """Seconds for which the machine was suspended since it started (clock_getres(2): only CLOCK_BOOTTIME advances)."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _more(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


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
    texts = [text for text in map(text_of, _throttle_files()) if text.strip().isdigit()]
    return sum(map(int, texts)) if texts else None


def _mhz() -> float | None:
    """The clock of the current core in MHz: from the frequency driver if there is one, else from ``/proc/cpuinfo``."""
    try:
        core = int(text_of(PROC / "thread-self" / "stat").rpartition(")")[2].split()[36])
    except (ValueError, IndexError):
        return None
    text = text_of(SYS / f"cpu{core}" / "cpufreq" / "scaling_cur_freq")
    if text.strip().isdigit():
        return int(text) / 1000
    return cpuinfo_mhz(text_of(PROC / "cpuinfo"), core)


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
