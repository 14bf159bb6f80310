"""Readings of a machine, on a made-up /proc and /sys, each with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.system import doctor
from workbench.system.doctor import Loads

CPU = "sys/devices/system/cpu"


def write(root: Path, path: str, text: str) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")
    return root


def test_a_governor_that_follows_the_load_is_advised_against(tmp_path):
    for core in (0, 1):
        write(tmp_path, f"{CPU}/cpu{core}/cpufreq/scaling_governor", "performance")
    assert not doctor.governor(tmp_path).advice
    write(tmp_path, f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave")
    found = doctor.governor(tmp_path)
    assert found.state.startswith("performance, powersave: ")
    assert found.advice == "sudo cpupower frequency-set --governor performance"


def test_a_virtual_machine_tells_no_governor(tmp_path):
    write(tmp_path, "proc/cpuinfo", "flags : fpu hypervisor lahf_lm")
    assert doctor.governor(tmp_path) == ("governor", "not available (a virtual machine: its host sets it)", "")


@pytest.mark.parametrize(
    ("file", "text", "well", "command"),
    [
        ("intel_pstate/no_turbo", "1", True, ""),
        ("intel_pstate/no_turbo", "0", False, "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"),
        ("cpufreq/boost", "0", True, ""),
        ("cpufreq/boost", "1", False, "echo 0 > /sys/devices/system/cpu/cpufreq/boost"),
    ],
)
def test_turbo_is_read_the_way_each_driver_writes_it(tmp_path, file, text, well, command):
    found = doctor.boost(write(tmp_path, f"{CPU}/{file}", text))
    assert (not found.advice) == well
    assert command in found.advice


def test_other_programs_are_named_with_what_they_take():
    quiet = doctor.other_programs(Loads((("cron", 9, 0.02),), 0.3, 0.0))
    assert not quiet.advice
    assert quiet.state.startswith("quiet: 0.3 of ")
    busy = tuple((name, number, 1.0 - number / 10) for number, name in enumerate("abcde"))
    found = doctor.other_programs(Loads(busy, 4.0, 0.0))
    assert found.state == "a (0) 1.0 cores, b (1) 0.9 cores, c (2) 0.8 cores and 2 more"
    assert found.advice == "end them, or measure later"


def test_a_program_that_keeps_a_core_busy_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            seen = doctor.watched(seconds=0.4)
        finally:
            busy.kill()
    found = {process: cores for _, process, cores in seen.others}
    assert found[busy.pid] > doctor.BUSY_SHARE
    assert os.getpid() not in found
    assert seen.busy_cores > doctor.BUSY_SHARE


def test_time_that_the_host_took_is_advised_against(tmp_path):
    assert not doctor.steal(tmp_path, Loads((), 0.0, 0.004)).advice
    found = doctor.steal(write(tmp_path, "proc/cpuinfo", "flags : fpu hypervisor"), Loads((), 0.0, 0.25))
    assert found.state == "25.0% (virtual machine): its host gives CPU time to other virtual machines"
    assert found.advice


def test_steal_time_is_a_share_of_all_ticks(tmp_path):
    write(tmp_path, "proc/stat", "cpu  100 0 50 800 50 0 0 40 0 0\ncpu0 1 2 3")
    assert doctor._ticks(tmp_path) == (190, 40, 1040)
    assert doctor._ticks(write(tmp_path, "proc/stat", "nonsense")) is None


def test_a_quota_of_a_container_is_read_where_the_process_is(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/slice/mine")
    write(tmp_path, "sys/fs/cgroup/slice/mine/cpu.max", "max 100000")
    write(tmp_path, "sys/fs/cgroup/slice/cpu.max", "150000 100000")  # the limit of a group above counts too
    write(tmp_path, "sys/fs/cgroup/slice/cpu.stat", "usage_usec 5\nnr_periods 2000\nnr_throttled 30")
    found = doctor.quota(tmp_path)
    assert found.state.startswith("1.5 cores; throttled in 30 of 2,000 periods: ")
    assert "docker run --cpus" in found.advice


def test_a_quota_of_version_1_is_read_too_and_none_is_none(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:memory:/x\n1:cpu:/")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert doctor.quota(tmp_path) == ("CPU quota", "none", "")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.stat", "nr_periods 10\nnr_throttled 0")
    found = doctor.quota(tmp_path)
    assert found.state == "0.5 cores; throttled in 0 of 10 periods"
    assert found.advice.startswith("use at most 1 threads")
    assert doctor.quota(tmp_path / "empty").state == "not available (no CPU control group)"


def test_cores_that_share_a_physical_one_are_named(tmp_path):
    assert not doctor.pinning(tmp_path).advice
    for core in os.sched_getaffinity(0):
        write(tmp_path, f"{CPU}/cpu{core}/topology/thread_siblings_list", f"{core},{core + 64}")
    found = doctor.pinning(tmp_path)
    assert "share a physical core" in found.state
    assert found.advice == "name one of each pair: --cores, such as --cores 0"


GIB = 2**20  # kilobytes


@pytest.mark.parametrize(
    ("free", "swapped", "says"),
    [(8, 0, "8.0 of 16.0 GiB free"), (1, 0, "every engine has its own process"), (8, 2, "2.0 GiB swapped out")],
)
def test_memory_that_is_short_is_advised_on(tmp_path, free, swapped, says):
    lines = {"MemTotal": 16, "MemAvailable": free, "SwapTotal": 4, "SwapFree": 4 - swapped}
    write(tmp_path, "proc/meminfo", "\n".join(f"{name}: {value * GIB} kB" for name, value in lines.items()))
    found = doctor.memory(tmp_path)
    assert says in found.state + found.advice
    assert (not found.advice) == (free > 2 and not swapped)


def test_unused_huge_pages_are_advised_on(tmp_path):
    file = "sys/kernel/mm/transparent_hugepage/enabled"
    assert not doctor.huge_pages(write(tmp_path, file, "always [madvise] never")).advice
    assert "echo madvise" in doctor.huge_pages(write(tmp_path, file, "always madvise [never]")).advice


def test_energy_that_only_root_may_read_comes_with_the_command(tmp_path):
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    write(tmp_path, "sys/class/powercap/intel-rapl:0/name", "package-0")
    write(tmp_path, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000")
    (zone / "energy_uj").mkdir()
    found = doctor.counters(tmp_path)
    assert found.advice == f"sudo chmod a+r {zone / 'energy_uj'}"


class RunRows:
    def __init__(self, processes, persistent=True) -> None:
        self._processes, self._persistent = processes, persistent

    def name(self):
        return "NVIDIA H100"

    def processes(self):
        return self._processes

    def persistent(self):
        return self._persistent


def test_a_gpu_that_others_use_is_named(monkeypatch):
    boards = [RunRows([]), RunRows([41, 42]), RunRows(None, persistent=False)]
    monkeypatch.setattr(doctor.nvml, "all_gpus", lambda: boards)
    found = list(doctor._gpus())
    assert [(each.what, not each.advice) for each in found] == [
        ("GPU 0", True), ("GPU 1", False), ("GPU 2", True), ("GPU 2", False),
    ]  # fmt: skip
    assert found[1].state == "NVIDIA H100, used by process 41, process 42"
    assert found[3].advice == "sudo nvidia-smi -pm 1"


def test_every_reading_is_made_on_this_machine():
    found = doctor.readings(loads=lambda: Loads((), 0.1, 0.0))
    assert [each.what for each in found][:9] == [
        "governor", "turbo", "other programs", "steal time", "CPU quota", "cores", "memory", "huge pages", "energy",
    ]  # fmt: skip
    assert all(each.state for each in found)
