from __future__ import annotations

import mmap
import threading
import time

import pytest

from workbench.timing import guards
from workbench.timing.guards import Counters

STAT = "cpu  1000 200 300 9000 50 7 13 40 5 0\ncpu0 500 100 150 4500 25 3 6 20 2 0\nintr 1\n"
CPUINFO = "processor\t: 0\ncpu MHz\t\t: 2596.138\n\nprocessor\t: 1\nmodel name\t: X\ncpu MHz\t\t: 3100.5\n"


def test_busy_seconds_leave_out_idle_waiting_and_guests():
    assert guards.stat_seconds(STAT, 100) == (15.2, 0.4)
    assert guards.stat_seconds("", 100) == (None, None)
    assert guards.stat_seconds("cpu  1 2 3\n", 100) == (None, None)  # a kernel before 2.6


def test_seconds_of_waiting():
    assert guards.waiting_seconds("64349286 378040948 178\n") == pytest.approx(0.378040948)
    assert guards.waiting_seconds("0 0 0\n") is None
    assert guards.waiting_seconds("") is None


def test_the_clock_is_that_of_the_core_itself():
    assert guards.cpuinfo_mhz(CPUINFO, 1) == 3100.5
    assert guards.cpuinfo_mhz(CPUINFO, 0) == 2596.138
    assert guards.cpuinfo_mhz(CPUINFO, 2) is None


def test_differences_leave_out_what_the_process_used_itself():
    before = Counters(1.0, 0.4, 10.0, 0.5, 0.1, 3, 7.0, (5, 0, 7, 2))
    after = Counters(1.2, 0.5, 10.9, 0.6, 0.15, 4, 9.5, (9, 1, 7, 12))
    around = guards.between(before, after)
    assert around.others_cpu_s == pytest.approx(0.7)
    assert around.stolen_s == pytest.approx(0.1)
    assert around.waited_s == pytest.approx(0.05)
    assert around.throttles == 1
    assert around.slept_s == 2.5
    assert around.worked_s == pytest.approx(0.1)
    assert (around.minor_faults, around.major_faults) == (4, 1)
    assert (around.voluntary_switches, around.involuntary_switches) == (0, 10)
    ticks = guards.between(before, after._replace(busy_s=10.1))  # whole ticks may miss what was used
    assert ticks.others_cpu_s == 0


def test_where_the_system_does_not_tell_nothing_is_made_up(monkeypatch, tmp_path):
    monkeypatch.setattr(guards, "PROC", tmp_path)
    monkeypatch.setattr(guards, "_throttle_files", lambda: ())
    found = guards.between(guards.counters(), guards.counters())
    assert (found.others_cpu_s, found.stolen_s, found.waited_s, found.mhz, found.throttles) == (None,) * 5
    assert found.minor_faults is not None


def test_throttle_counts_of_all_cores_are_added(monkeypatch, tmp_path):
    files = []
    for core, count in ((0, "3\n"), (1, "4\n")):
        files.append(tmp_path / f"{core}")
        files[-1].write_text(count)
    monkeypatch.setattr(guards, "_throttle_files", lambda: (*files, tmp_path / "gone"))
    assert guards.counters().throttles == 7


@pytest.mark.skipif(not guards.PROC.exists(), reason="there is no /proc")
def test_this_system_tells_of_pages_and_of_work():
    before = guards.counters()
    touched = mmap.mmap(-1, 30_000_000)  # fresh pages, which no allocator has kept
    worker = threading.Thread(target=lambda: touched.write(b"x" * 30_000_000))
    worker.start()
    while time.process_time() - before.own_cpu_s < 0.06:
        pass
    worker.join()
    after = guards.counters()
    assert after.own_cpu_s - before.own_cpu_s > 0.05
    assert after.busy_s > before.busy_s
    assert guards.between(before, after).minor_faults > 10  # 30 MB, in pages of 4 KiB or of 2 MiB
