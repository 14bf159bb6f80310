"""Observations of an engine other than timed calls: energy, settings in effect, and its clocks, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.measure.interleave import Rounds, interleave
from workbench.protocols import GpuSession, HasLibraryCall, MetersEnergy, ReportsSettings, Session
from workbench.records import Clock, InEffect, Region, Wait
from workbench.system import energy, in_effect
from workbench.timing import benchmark

if TYPE_CHECKING:
    import numpy as np

HOST = "NumPy arrays in, NumPy arrays out: including every conversion and copy"
IN_PLACE = "inputs and outputs in place: the engine alone, and the call into the library"
DEVICE = "the GPU's own time between two CUDA events around the launches"


def meter(session: Session | None) -> energy.Meter:
    """A meter of all available counters: of the processor's packages, and of the session's GPU."""
    counters: list[energy.EnergyCounter] = list(energy.rapl()[0])
    if isinstance(session, MetersEnergy):
        counters += session.energy_counters()
    return energy.Meter(counters)


def settings(session: Session) -> tuple[InEffect, ...]:
    """Settings in effect; call it after the engine has run, because threads are started in the first run."""
    reported = session.in_effect() if isinstance(session, ReportsSettings) else ()
    zones, why = energy.rapl()
    read = ", ".join(zone.source for zone in zones)
    counters = InEffect("energy", "; ".join(filter(None, (read, why))), str(energy.POWERCAP))
    return (*reported, *in_effect.of_process(), counters)


def clocks(
    session: Session, feeds: Mapping[str, np.ndarray], *, compute: bool, rounds: int, block_s: float, seed: int
) -> tuple[Clock, ...]:
    """Time the same engine over all its regions, in ``rounds`` of one block of ``block_s`` seconds each, in random order.
    ``compute``: whether its inputs can be put in place (``Backend.measures``).
    """
    calls = _calls(session, feeds, compute=compute)
    for _, _, call in calls:
        benchmark.warm_up(call, block_s)

    def block(place: int) -> tuple[tuple[int, ...], bool]:
        _, _, call = calls[place]
        times = benchmark.timed_block(call, block_s, own_clock=isinstance(session, GpuSession))
        if isinstance(session, GpuSession):
            session.drain()
        return tuple(times.samples_ns), times.quiet

    kept: list[list[tuple[int, ...]]] = [[] for _ in calls]
    for taken in interleave(len(calls), Rounds(rounds, seed), block):
        kept[taken.variant].append(taken.value)
    return tuple(Clock(name, encloses, tuple(own)) for (name, encloses, _), own in zip(calls, kept, strict=True))


def _calls(
    session: Session, feeds: Mapping[str, np.ndarray], *, compute: bool
) -> list[tuple[str, str, Callable[[], Any]]]:
    """(name, description, call), from the widest to the narrowest region."""
    host, inside, device = (str(region) for region in (Region.HOST_TO_HOST, Region.COMPUTE, Region.DEVICE))
    if isinstance(session, GpuSession):
        # all regions use the same buffers, which do not change
        regions = [(host, HOST), (inside, IN_PLACE), (device, DEVICE)]
        return [
            (name, text, session.timed(feeds, Region(name), wait=Wait.SPIN, together=False)) for name, text in regions
        ]
    found: list[tuple[str, str, Callable[[], Any]]] = [(host, HOST, lambda: session.run(feeds))]
    if isinstance(session, HasLibraryCall):
        call, text = session.library_call(feeds)
        found.append(("library", text, call))
    if compute:
        found.append((inside, IN_PLACE, session.stage(feeds)))
    return found
