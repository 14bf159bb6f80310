"""Counters of energy on a made-up /sys: this needs no machine that has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.system import energy


def zone(root: Path, folder: str, name: str, value: object = 1_000_000, range_uj: int = 65_532_610_987) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{value}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return place


@pytest.fixture
def two_packages(tmp_path: Path) -> Path:
    """As an Intel server shows it: two packages with parts inside and memory beside, the platform, and a second way in."""
    for package in (0, 1):
        zone(tmp_path, f"intel-rapl:{package}", f"package-{package}")
        zone(tmp_path, f"intel-rapl:{package}:0", "core")
        zone(tmp_path, f"intel-rapl:{package}:1", "dram")
    zone(tmp_path, "intel-rapl:2", "psys")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_packages_and_their_memory_count_and_nothing_twice(two_packages):
    zones, why = energy.rapl(two_packages)
    assert [zone.source for zone in zones] == [
        "RAPL package-0", "RAPL dram of package-0", "RAPL package-1", "RAPL dram of package-1",
    ]  # fmt: skip
    assert why == ""


def test_an_amd_processor_stands_under_the_same_name(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:0", "core")
    assert [zone.source for zone in energy.rapl(tmp_path)[0]] == ["RAPL package-0"]


def test_none_and_locked_counters_say_why(tmp_path):
    assert energy.rapl(tmp_path / "gone") == (
        [], "this machine has no RAPL counters (a virtual machine usually has none)",
    )  # fmt: skip
    place = zone(tmp_path, "intel-rapl:0", "package-0")
    (place / "energy_uj").unlink()
    (place / "energy_uj").mkdir()  # cannot be read, by root neither
    zones, why = energy.rapl(tmp_path)
    assert zones == []
    assert why == f"the energy counters may be read by root only: sudo chmod a+r {place / 'energy_uj'}"


def test_a_counter_that_started_again_is_seen(tmp_path):
    place = zone(tmp_path, "intel-rapl:0", "package-0", range_uj=1_000_000)
    (package,) = energy.rapl(tmp_path)[0]
    before = package.read()
    assert before == 1_000_000
    (place / "energy_uj").write_text("250000\n")
    assert package.joules(before, package.read()) == 0.25
    assert package.joules(100_000, 850_000) == 0.75


def test_a_meter_reads_both_ends_and_leaves_out_what_went_away(two_packages):
    meter = energy.Meter(energy.rapl(two_packages)[0])
    meter.start()
    (two_packages / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
    (two_packages / "intel-rapl:1" / "energy_uj").unlink()
    found = meter.stop()
    assert {each.source: each.joules for each in found} == {
        "RAPL package-0": 2.5, "RAPL dram of package-0": 0.0, "RAPL dram of package-1": 0.0,
    }  # fmt: skip
    assert all(0 < each.window_s < 1 for each in found)
    assert {each.period_s for each in found} == {0.001}


def test_without_counters_nothing_is_reported():
    meter = energy.Meter(())
    meter.start()
    assert meter.stop() == ()
