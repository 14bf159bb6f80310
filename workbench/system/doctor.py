"""Readings of how suitable this machine is for measuring now, each with what to do about it.

Everything is read from the kernel's files below ``root``, which a test may create, from ``psutil`` and from NVML. A value that is
not available on this machine is reported as such and never guessed.
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
from workbench.system.kernel_files import text_of
from workbench.system.machine import usable_cores

WATCH_S = 1.0
"""Seconds for which other programs are observed."""
BUSY_SHARE = 0.1
"""Share of one core above which a program disturbs measurements."""
STEAL_SHARE = 0.01
FREE_BYTES = 2 * 2**30
SHOWN = 3


class Condition(NamedTuple):
    """One property that affects the reliability of timings."""

    what: str
    state: str
    advice: str = ""  # empty: no action is needed


class Loads(NamedTuple):
    """Activity of the machine over about a second."""

    others: tuple[tuple[str, int, float], ...]  # (name, process, cores kept busy), the busiest first
    busy_cores: float  # by all programs, including this one; 0: not available
    stolen_share: float | None  # share of the CPU time taken by the hypervisor; None: not available


def readings(root: Path = Path("/"), *, loads: Callable[[], Loads] | None = None) -> list[Condition]:
    """Every reading, about a second after the call. ``root`` is the folder of /proc and /sys."""
    seen = (loads or (lambda: watched(root)))()
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
        *_gpus(),
    ]


def governor(root: Path) -> Condition:
    """The frequency governor of every core."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({text_of(file) for file in files} - {""})
    if not found:
        virtual = " (a virtual machine: its host sets it)" if _virtual(root) else ""
        return Condition("governor", f"not available{virtual}")
    if found == ["performance"]:
        return Condition("governor", "performance on all cores")
    return Condition(
        "governor",
        f"{', '.join(found)}: the clock follows the load, and short calls may be timed at a low clock",
        "sudo cpupower frequency-set --governor performance",
    )


def boost(root: Path) -> Condition:
    """Whether cores may run above their nominal frequency."""
    cpu = root / "sys/devices/system/cpu"
    off, on = text_of(cpu / "intel_pstate/no_turbo"), text_of(cpu / "cpufreq/boost")
    if not off and not on:
        return Condition("turbo", "not available")
    active = off == "0" if off else on == "1"
    if not active:
        return Condition("turbo", "off: clocks stay at the nominal frequency")
    command = (
        "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"
        if off
        else "echo 0 > /sys/devices/system/cpu/cpufreq/boost"
    )
    return Condition(
        "turbo",
        "on: clocks depend on temperature and on the number of busy cores",
        f"for repeatable times: sudo sh -c '{command}'. Variants are timed interleaved, so their ratios are affected little",
    )


def other_programs(seen: Loads) -> Condition:
    """Other programs that kept a core busy."""
    heavy = [each for each in seen.others if each[2] > BUSY_SHARE]
    if not heavy:
        return Condition(
            "other programs", f"quiet: {seen.busy_cores:.1f} of {usable_cores()} cores busy over {WATCH_S:g} s"
        )
    named = ", ".join(f"{name} ({process}) {cores:.1f} cores" for name, process, cores in heavy[:SHOWN])
    more = f" and {len(heavy) - SHOWN} more" if len(heavy) > SHOWN else ""
    return Condition("other programs", f"{named}{more}", "end them, or measure later")


def steal(root: Path, seen: Loads) -> Condition:
    """CPU time that a hypervisor gave to other virtual machines."""
    where = "virtual machine" if _virtual(root) else "not a virtual machine"
    if seen.stolen_share is None:
        return Condition("steal time", "not available")
    found = f"{seen.stolen_share:.1%} ({where})"
    if seen.stolen_share <= STEAL_SHARE:
        return Condition("steal time", found)
    return Condition(
        "steal time",
        f"{found}: its host gives CPU time to other virtual machines",
        "measure later, or on a dedicated machine",
    )


def quota(root: Path) -> Condition:
    """The limit that a container sets on CPU time (cgroup, version 2 or 1), and how often this process was throttled."""
    folder, limit_cores, stat = _cgroup(root)
    if folder is None:
        return Condition("CPU quota", "not available (no CPU control group)")
    periods, throttled = stat.get("nr_periods", 0), stat.get("nr_throttled", 0)
    if limit_cores is None:
        return Condition("CPU quota", "none")
    found = f"{limit_cores:g} cores; throttled in {throttled:,} of {periods:,} periods"
    if throttled:
        return Condition(
            "CPU quota",
            f"{found}: a throttled call takes up to 100 ms longer",
            "give the container more CPU (docker run --cpus), or use fewer threads",
        )
    if limit_cores < usable_cores():
        return Condition(
            "CPU quota", found, f"use at most {max(1, int(limit_cores))} threads, or give the container more CPU"
        )
    return Condition("CPU quota", found)


def pinning(root: Path) -> Condition:
    """Which cores this process may use, and which of them share a physical core."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    pairs = {text_of(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") for core in cores} - {""}
    shared = sorted(pair for pair in pairs if "," in pair or "-" in pair)
    found = f"this process may use cores {ranges(cores)}"
    if shared:
        return Condition(
            "cores",
            f"{found}; {'; '.join(shared[:SHOWN])}{' …' if len(shared) > SHOWN else ''} share a physical core",
            "name one of each pair: --cores, such as --cores 0",
        )
    if len(cores) > 1:
        return Condition("cores", f"{found}; --cores restricts every engine to some of them")
    return Condition("cores", found)


def memory(root: Path) -> Condition:
    """Free memory, and whether pages have been swapped out."""
    lines = dict(line.split(":", 1) for line in text_of(root / "proc/meminfo").splitlines() if ":" in line)

    def bytes_of(name: str) -> int:
        words = lines.get(name, "").split()
        return int(words[0]) * 1024 if words else 0

    if not lines:
        return Condition("memory", "not available")
    free, total = bytes_of("MemAvailable"), bytes_of("MemTotal")
    swapped = bytes_of("SwapTotal") - bytes_of("SwapFree")
    found = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if swapped > 0.05 * total:
        return Condition(
            "memory", f"{found}, {swapped / 2**30:.1f} GiB swapped out", "end programs that are not needed"
        )
    if free < FREE_BYTES:
        return Condition("memory", found, "end programs that are not needed: every engine has its own process")
    return Condition("memory", found)


def huge_pages(root: Path) -> Condition:
    """Transparent huge pages, which reduce the TLB misses of large models."""
    text = text_of(root / "sys/kernel/mm/transparent_hugepage/enabled")
    chosen = text.partition("[")[2].partition("]")[0]
    if not chosen:
        return Condition("huge pages", "not available")
    if chosen == "never":
        return Condition(
            "huge pages",
            "never",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled: libraries request them",
        )
    who = {
        "always": "for all programs",
        "madvise": "for programs that request them, such as NumPy; some engines do not",
    }.get(chosen, "")
    return Condition("huge pages", f"{chosen} ({who})")


def counters(root: Path) -> Condition:
    """Whether energy counters can be read."""
    zones, why = energy.rapl(root / "sys/class/powercap")
    if not zones and "sudo" in why:
        reason, _, command = why.partition(": ")
        return Condition("energy", reason, command)
    boards = [each.source for each in (state.energy() for state in nvml.all_gpus()) if each][:1]
    return Condition("energy", ", ".join([*(zone.source for zone in zones), *boards]) or why)


def watched(root: Path = Path("/"), seconds: float = WATCH_S) -> Loads:
    """Observe the machine for some seconds. Programs of other users count if their times may be read."""
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
    if ticks and later and later[2] > ticks[2]:
        used, taken, whole = (late - early for early, late in zip(ticks, later, strict=True))
        busy, stolen = used / whole * (os.cpu_count() or 1), taken / whole
    return Loads(tuple(others), busy, stolen)


def _ticks(root: Path) -> tuple[int, int, int] | None:
    """CPU time in ticks, (busy, stolen, total), from /proc/stat, whose columns are user, nice, system, idle, iowait, irq, softirq and
    steal: proc(5).
    """
    first = text_of(root / "proc/stat").partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    values = [int(word) for word in first[1:9]]
    idle = values[3] + values[4]
    return sum(values) - idle, values[7], sum(values)


def _cgroup(root: Path) -> tuple[Path | None, float | None, dict[str, int]]:
    """(folder, limit in cores, counters) of the nearest control group of this process with a limit."""
    groups = [line.split(":", 2) for line in text_of(root / "proc/self/cgroup").splitlines() if line.count(":") >= 2]
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
        # inside a container the path may be the host's; the container's own group is then the top folder
        places = [top.joinpath(*path.strip("/").split("/")[:depth]) for depth in range(path.count("/") + 1, 0, -1)]
        for folder in [*places, top]:
            if not (folder / name).is_file():
                continue
            seen = seen or folder
            limit = _limit(folder)
            if limit is not None:
                counted = (line.split() for line in text_of(folder / "cpu.stat").splitlines())
                return folder, limit, {words[0]: int(words[1]) for words in counted if len(words) == 2}
    return seen, None, {}


def _limit(folder: Path) -> float | None:
    both = text_of(folder / "cpu.max").split()
    if len(both) == 2:
        return None if both[0] == "max" else int(both[0]) / int(both[1])
    quota_us, period_us = text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us")
    if quota_us.isdigit() and period_us.isdigit():  # -1: none
        return int(quota_us) / int(period_us)
    return None


def _gpus() -> Iterator[Condition]:
    for index, state in enumerate(nvml.all_gpus()):
        name = f"GPU {index}"
        holders = state.processes()
        if holders is None:
            yield Condition(name, f"{state.name()}: its users are not available")
        elif holders:
            held = ", ".join(f"process {process}" for process in holders[:SHOWN])
            yield Condition(
                name, f"{state.name()}, used by {held}", "end it, or measure later: two programs share its time"
            )
        else:
            yield Condition(name, f"{state.name()}, not used by other processes")
        if state.persistent() is False and platform.system() == "Linux":
            yield Condition(
                name, "persistence mode is off: its driver is loaded again for every process", "sudo nvidia-smi -pm 1"
            )


def _virtual(root: Path) -> bool:
    return " hypervisor" in text_of(root / "proc/cpuinfo")
