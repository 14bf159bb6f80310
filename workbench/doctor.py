"""Is this machine fit for measuring now? Real readings, each with what to do about it.

Everything is read from the kernel's files below ``root``, which a test may make itself, from ``psutil`` and from NVML. What is
not told on this machine is said to be so and never guessed.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from workbench.system import energy, nvml
from workbench.system.in_effect import ranges
from workbench.system.machine import usable_cores

WATCH_S = 1.0
"""How long other programs are watched."""
BUSY_SHARE = 0.1
"""Of one core: a program above it disturbs what is timed."""
STEAL_SHARE = 0.01
FREE_BYTES = 2 * 2**30
SHOWN = 3


class Reading(NamedTuple):
    """One thing that decides how far timings can be trusted."""

    what: str
    found: str
    advice: str = ""  # empty: nothing is to be done

    @property
    def well(self) -> bool:
        return not self.advice


class Ticks(NamedTuple):
    """CPU time of the machine by the first line of /proc/stat, in ticks."""

    busy: int
    stolen: int
    total: int


class Loads(NamedTuple):
    """What happened on the machine over a second."""

    others: tuple[tuple[str, int, float], ...]  # (name, process, cores kept busy), the busiest first
    busy_cores: float  # by all programs, this one included; 0 where it is not told
    stolen_share: float | None  # of the CPU time, taken by the hypervisor; None where it is not told


def readings(root: Path = Path("/"), *, loads: Callable[[], Loads] | None = None) -> list[Reading]:
    """Every reading, about a second after the call. ``root`` is where /proc and /sys lie."""
    seen = (loads or (lambda: watched(root)))()
    gpus = _gpus()
    return [
        governor(root),
        boost(root),
        other_programs(seen),
        steal(root, seen),
        quota(root),
        pinning(root),
        memory(root),
        huge_pages(root),
        counters(root),
        *gpus,
    ]


def governor(root: Path) -> Reading:
    """The frequency governor of every core."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({_text(file) for file in files} - {""})
    if not found:
        virtual = " (a virtual machine: its host decides)" if _virtual(root) else ""
        return Reading("governor", f"not told{virtual}")
    if found == ["performance"]:
        return Reading("governor", "performance on all cores")
    return Reading(
        "governor",
        f"{', '.join(found)}: the clock follows the load, and short calls are timed at a low one",
        "sudo cpupower frequency-set --governor performance",
    )


def boost(root: Path) -> Reading:
    """Whether cores may clock above their nominal frequency."""
    cpu = root / "sys/devices/system/cpu"
    off, on = _text(cpu / "intel_pstate/no_turbo"), _text(cpu / "cpufreq/boost")
    if not off and not on:
        return Reading("turbo", "not told")
    active = off == "0" if off else on == "1"
    if not active:
        return Reading("turbo", "off: clocks stay at the nominal frequency")
    command = (
        "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"
        if off
        else "echo 0 > /sys/devices/system/cpu/cpufreq/boost"
    )
    return Reading(
        "turbo",
        "on: clocks depend on heat and on how many cores are busy",
        f"for repeatable times: sudo sh -c '{command}'. Variants take turns here, so their ratios suffer little",
    )


def other_programs(seen: Loads) -> Reading:
    """Programs that kept a core busy while this one waited."""
    heavy = [each for each in seen.others if each[2] > BUSY_SHARE]
    if not heavy:
        return Reading(
            "other programs", f"quiet: {seen.busy_cores:.1f} of {usable_cores()} cores busy over {WATCH_S:g} s"
        )
    named = ", ".join(f"{name} ({process}) {cores:.1f} cores" for name, process, cores in heavy[:SHOWN])
    more = f" and {len(heavy) - SHOWN} more" if len(heavy) > SHOWN else ""
    return Reading("other programs", f"{named}{more}", "end them, or measure later")


def steal(root: Path, seen: Loads) -> Reading:
    """CPU time that a hypervisor gave to other virtual machines."""
    where = "virtual machine" if _virtual(root) else "no virtual machine"
    if seen.stolen_share is None:
        return Reading("steal time", "not told")
    found = f"{seen.stolen_share:.1%} ({where})"
    if seen.stolen_share <= STEAL_SHARE:
        return Reading("steal time", found)
    return Reading(
        "steal time", f"{found}: its host gives CPU time to others", "measure later, or on a machine of your own"
    )


def quota(root: Path) -> Reading:
    """The limit that a container sets on CPU time (cgroup, version 2 or 1), and how often it has stopped this process."""
    folder, limit_cores, stat = _cgroup(root)
    if folder is None:
        return Reading("CPU quota", "not told (no CPU control group)")
    periods, throttled = stat.get("nr_periods", 0), stat.get("nr_throttled", 0)
    if limit_cores is None:
        return Reading("CPU quota", "none")
    found = f"{limit_cores:g} cores; stopped in {throttled:,} of {periods:,} periods"
    if throttled:
        return Reading(
            "CPU quota",
            f"{found}: a call that is stopped takes up to 100 ms more",
            "give the container more CPU (docker run --cpus), or use fewer threads",
        )
    if limit_cores < usable_cores():
        return Reading(
            "CPU quota", found, f"use at most {max(1, int(limit_cores))} threads, or give the container more CPU"
        )
    return Reading("CPU quota", found)


def pinning(root: Path) -> Reading:
    """Which cores this process may use, and which of them share a physical one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    pairs = {_text(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") for core in cores} - {""}
    shared = sorted(pair for pair in pairs if "," in pair or "-" in pair)
    found = f"this process may use cores {ranges(cores)}"
    if shared:
        return Reading(
            "cores",
            f"{found}; {'; '.join(shared[:SHOWN])}{' …' if len(shared) > SHOWN else ''} share a physical core",
            "name one of each pair: --cores, such as --cores 0",
        )
    if len(cores) > 1:
        return Reading("cores", f"{found}; --cores holds every engine to some of them")
    return Reading("cores", found)


def memory(root: Path) -> Reading:
    """What is free, and whether pages have been put out."""
    lines = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)

    def bytes_of(name: str) -> int:
        words = lines.get(name, "").split()
        return int(words[0]) * 1024 if words else 0

    if not lines:
        return Reading("memory", "not told")
    free, total = bytes_of("MemAvailable"), bytes_of("MemTotal")
    swapped = bytes_of("SwapTotal") - bytes_of("SwapFree")
    found = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if swapped > 0.05 * total:
        return Reading("memory", f"{found}, {swapped / 2**30:.1f} GiB swapped out", "end programs that are not needed")
    if free < FREE_BYTES:
        return Reading("memory", found, "end programs that are not needed: every engine keeps a process of its own")
    return Reading("memory", found)


def huge_pages(root: Path) -> Reading:
    """Transparent huge pages, which spare large models the misses of the page table's cache."""
    text = _text(root / "sys/kernel/mm/transparent_hugepage/enabled")
    chosen = text.partition("[")[2].partition("]")[0]
    if not chosen:
        return Reading("huge pages", "not told")
    if chosen == "never":
        return Reading(
            "huge pages",
            "never",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled: libraries ask for them",
        )
    who = {"always": "for everybody", "madvise": "for those that ask, such as NumPy; some engines do not"}.get(
        chosen, ""
    )
    return Reading("huge pages", f"{chosen} ({who})")


def counters(root: Path) -> Reading:
    """Whether energy can be read."""
    zones, why = energy.rapl(root / "sys/class/powercap")
    if not zones and "sudo" in why:
        reason, _, command = why.partition(": ")
        return Reading("energy", reason, command)
    return Reading("energy", ", ".join(zone.source for zone in zones) or why)


def watched(root: Path = Path("/"), seconds: float = WATCH_S) -> Loads:
    """Watch the machine for some seconds. Programs of other users count where their times may be read."""
    import psutil

    def times() -> dict[int, tuple[str, float]]:
        found = {}
        for process in psutil.process_iter(["name", "cpu_times"]):
            used = process.info["cpu_times"]
            if used is not None and process.pid != os.getpid():
                found[process.pid] = (process.info["name"] or "?", used.user + used.system)
        return found

    before, ticks, began = times(), _ticks(root), time.perf_counter()
    time.sleep(seconds)
    after, later, passed = times(), _ticks(root), time.perf_counter() - began
    others = [
        (name, process, (used - before[process][1]) / passed)
        for process, (name, used) in after.items()
        if process in before
    ]
    others.sort(key=lambda each: -each[2])
    busy, stolen = 0.0, None
    if ticks and later and later.total > ticks.total:
        whole = later.total - ticks.total
        busy = (later.busy - ticks.busy) / whole * (os.cpu_count() or 1)
        stolen = (later.stolen - ticks.stolen) / whole
    return Loads(tuple(others), busy, stolen)


def _ticks(root: Path) -> Ticks | None:
    """The columns are user, nice, system, idle, iowait, irq, softirq and steal: proc(5)."""
    first = _text(root / "proc/stat").partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    values = [int(word) for word in first[1:9]]
    idle = values[3] + values[4]
    return Ticks(sum(values) - idle, values[7], sum(values))


def _cgroup(root: Path) -> tuple[Path | None, float | None, dict[str, int]]:
    """(folder, limit in cores, its counters) of the nearest group of this process that sets a limit."""
    groups = [line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines() if line.count(":") >= 2]
    seen = None
    for number, controllers, path in groups:
        if number == "0":
            top, name = root / "sys/fs/cgroup", "cpu.max"
        elif "cpu" in controllers.split(","):
            top, name = root / "sys/fs/cgroup" / controllers, "cpu.cfs_quota_us"
            if not top.is_dir():
                top = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # inside a container the path may be that of the host, and its own group is then the top
        places = [top.joinpath(*path.strip("/").split("/")[:depth]) for depth in range(path.count("/") + 1, 0, -1)]
        for folder in [*places, top]:
            if not (folder / name).is_file():
                continue
            seen = seen or folder
            limit = _limit(folder)
            if limit is not None:
                counted = (line.split() for line in _text(folder / "cpu.stat").splitlines())
                return folder, limit, {words[0]: int(words[1]) for words in counted if len(words) == 2}
    return seen, None, {}


def _limit(folder: Path) -> float | None:
    both = _text(folder / "cpu.max").split()
    if len(both) == 2:
        return None if both[0] == "max" else int(both[0]) / int(both[1])
    quota_us, period_us = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if quota_us.isdigit() and period_us.isdigit():  # -1: none
        return int(quota_us) / int(period_us)
    return None


def _gpus() -> Iterator[Reading]:
    for index, state in enumerate(nvml.all_gpus()):
        name = f"GPU {index}"
        holders = state.processes()
        if holders is None:
            yield Reading(name, f"{state.name()}: who uses it is not told")
        elif holders:
            held = ", ".join(f"process {process}" for process in holders[:SHOWN])
            yield Reading(
                name, f"{state.name()}, used by {held}", "end it, or measure later: two programs share its time"
            )
        else:
            yield Reading(name, f"{state.name()}, used by nobody")
        if state.persistent() is False and platform.system() == "Linux":
            yield Reading(
                name, "persistence mode is off: its driver starts anew for every process", "sudo nvidia-smi -pm 1"
            )


def _virtual(root: Path) -> bool:
    return " hypervisor" in _text(root / "proc/cpuinfo")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
