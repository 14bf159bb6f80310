"""What every variant cost, as a table: memory, CPU time, energy, and how much of what the machine can do it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.compare.roofline import Placed, placed, work
from workbench.records import CPU
from workbench.system.energy import LEAST_PERIODS

if TYPE_CHECKING:
    from workbench.records import Block, Result, Results, Timing

OVER = 1.0
WAITED = 0.8
"""Cores used by a single thread, below which it did not have its core to itself."""


def cost_rows(results: Results) -> list[dict[str, Any]]:
    """One row per measured variant and batch; rows that were not measured are missing. :func:`notes` lists them with the reasons.

    * ``peak MiB``: highest resident memory of the engine's process; ``engine MiB``: what of it came after its library was
      imported: the engine, its buffers, and the test samples. ``GPU MiB``: of the device, by this process.
    * ``CPU ms``: CPU time of one call over all threads of the process, and ``cores used``: that time by the wall's.
    * ``mJ``: energy of one call by each counter that its windows are long enough for, idle power and other programs included;
      ``energy of`` says of what. Several counters (packages of one machine) are added up, a GPU board is not added to them.
    * ``GFLOP/s``: operations of the model (a multiply-add counted as two; of INT8 integer operations) by the median time;
      ``limit GFLOP/s``, ``% of limit`` and ``limited by``: see :mod:`workbench.compare.roofline`. A share is at least what is said.
    """
    return [_cells(row, spot) for row, spot in zip(results.measured, placed(results), strict=True)]


def _cells(row: Result, spot: Placed) -> dict[str, Any]:
    timing = row.timing
    assert timing is not None
    cells: dict[str, Any] = {
        "variant": row.spec.label,
        "batch": row.batch,
        "peak MiB": timing.peak_rss_bytes / 2**20,
        "engine MiB": (timing.peak_rss_bytes - timing.base_rss_bytes) / 2**20,
        "CPU ms": cpu_s(timing) * 1e3,
        "cores used": timing.cores_used,
    }
    if timing.device and timing.device.memory_basis.startswith("NVML"):
        cells["GPU MiB"] = timing.device.memory_bytes / 2**20
    if found := joules(timing):
        cells |= {"mJ": sum(found.values()) * 1e3, "energy of": " + ".join(found)}
    if spot.share is not None:
        limit = f"{spot.format} compute" if spot.bound == "compute" else f"bytes from {spot.bound}"
        cells |= {"GFLOP/s": spot.achieved / 1e9, "limit GFLOP/s": spot.attainable / 1e9}
        cells |= {"% of limit": spot.share * 100, "limited by": limit}
    return cells


def cpu_s(timing: Timing) -> float:
    """CPU seconds of one call, all threads of the process together."""
    return sum(block.cpu_s for block in timing.blocks) / sum(map(timing.calls_in, timing.blocks))


def joules(timing: Timing) -> dict[str, float]:
    """Joules of one call, by counter; only blocks whose window is long enough for the counter count, and none may be left out.

    The counters run from before a block's untimed first calls until after its last timed one, which are the same calls at the
    same pace: what they rose by is divided among the calls by time. On a GPU's rows the processor's counters are left out: a
    board's energy and a package's are not one number.
    """
    per_call: dict[str, list[float]] = {}
    for block in timing.blocks:
        for source, spent in block_joules(block, timing).items():
            per_call.setdefault(source, []).append(spent)
    whole = {source: values for source, values in per_call.items() if len(values) == len(timing.blocks)}
    return {source: sum(values) / len(values) for source, values in whole.items()}


def block_joules(block: Block, timing: Timing) -> dict[str, float]:
    """Joules of one call in one block, by counter, as :func:`joules`; ``timing`` is one of the same engine."""
    found = {}
    for each in block.energy:
        wanted = each.source.startswith("NVML") == (timing.device is not None)
        if wanted and each.window_s >= LEAST_PERIODS * each.period_s and block.samples_ns:
            share = min(1.0, block.wall_s / each.window_s)
            found[each.source] = each.joules * share / timing.calls_in(block)
    return found


def notes(results: Results) -> list[str]:
    """What the table's numbers do not hold, and why some are missing, in sentences."""
    notes = [*energy_notes(results), *_roof_notes(results)]
    return list(dict.fromkeys(notes))


def energy_notes(results: Results) -> list[str]:
    """What energies include, or why there are none."""
    found = []
    timings = [row.timing for row in results.measured if row.timing]
    if any(joules(timing) for timing in timings):
        found.append("Energy is that of the whole package or board: other programs and idle power are included.")
    short = {
        each.source: each.period_s * LEAST_PERIODS
        for timing in timings
        for block in timing.blocks
        for each in block.energy
        if each.window_s < LEAST_PERIODS * each.period_s
    }
    for source, least_s in short.items():
        found.append(
            f"No energy from {source}: a block must last {least_s:g} s for its counter, and lasts "
            f"{results.plan.block_s:.2g} s. Measure each row for {least_s * results.plan.rounds:g} s ('measure_s')."
        )
    if timings and not any(block.energy for timing in timings for block in timing.blocks):
        why = next((each.value for timing in timings for each in timing.in_effect if each.name == "energy"), "")
        found.append(f"No energy: {why or 'no counter was read'}.")
    return found


def _roof_notes(results: Results) -> list[str]:
    spots = placed(results)
    found = []
    if any(spot.share for spot in spots):
        found.append(
            "The limit is the lower of the peak in the format that it computes in and of operations per byte times the bytes per "
            "second from the nearest place that holds weights, inputs and outputs. Bytes are the fewest possible, so a share is "
            "at least what is said; the time is that of the timed region, conversions included."
        )
    if results.peaks and results.peaks.disturbed and any(spot.share for spot in spots):
        found.append(
            "Other programs kept cores busy while the peaks were measured: limits may be too low, and shares too high. Measure again."
        )
    over = dict.fromkeys(f"{spot.name} @{spot.batch}" for spot in spots if spot.share and spot.share > OVER)
    if over:
        found.append(
            f"Above 100 %: {', '.join(over)}. The measured peak is too low for it: measure it again on a quiet machine (python -m "
            "workbench doctor --peaks), or the engine does fewer operations than a direct convolution (Winograd)."
        )
    for why in dict.fromkeys(spot.why_not for spot in spots if spot.why_not):
        names = dict.fromkeys(spot.name for spot in spots if spot.why_not == why)
        found.append(f"No limit for {', '.join(names)}: {why}.")
    on_cpu = [(row.spec, row.timing) for row in results.measured if row.timing and row.device == CPU]
    busy = dict.fromkeys(spec.label for spec, timing in on_cpu if timing.cores_used > spec.threads + 0.1)
    if busy:
        found.append(
            f"With {', '.join(busy)}, more cores than the requested threads were busy, so that its limit is too low."
        )
    waited = dict.fromkeys(spec.label for spec, timing in on_cpu if spec.threads == 1 and timing.cores_used < WAITED)
    if waited:
        share = "The true % of limit may be higher than shown. " if any(spot.share for spot in spots) else ""
        found.append(
            f"{', '.join(waited)} had to wait for a core, because other programs were running. {share}CPU ms does not include this "
            "waiting."
        )
    if (peaks := results.peaks) and work(results) is None:
        found.append(
            f"Peaks were measured with {peaks.threads} threads, and the operations of the model could not be counted."
        )
    return found
