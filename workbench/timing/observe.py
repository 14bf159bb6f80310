"""What a worker tells of its engine beside the timed calls: energy, settings as they are, and the clocks of one engine in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.measure.interleave import Rounds, interleave
from workbench.protocols import GpuSession, HasLibraryCall, MetersEnergy, Session, TellsSettings
from workbench.records import Clock, InEffect, Region, Wait
from workbench.system import energy, in_effect
from workbench.timing import benchmark

if TYPE_CHECKING:
    import numpy as np

HOST = "NumPy arrays in, NumPy arrays out: every conversion and copy included"
IN_PLACE = "inputs and outputs in place: the engine alone, and the call into the library"
DEVICE = "the GPU's own time between two CUDA events around the launches"


def meter(session: Session | None) -> energy.Meter:
    """Reads every counter that there is: of the processor's packages, and of the GPU that the session runs on."""
    counters: list[energy.Counter] = list(energy.rapl()[0])
    if isinstance(session, MetersEnergy):
        counters += session.energy_counters()
    return energy.Meter(counters)


def settings(session: Session) -> tuple[InEffect, ...]:
    """Settings in effect; to be asked after the engine has run, because threads are made at the first run."""
    told = session.in_effect() if isinstance(session, TellsSettings) else ()
    zones, why = energy.rapl()
    read = ", ".join(zone.source for zone in zones)
    counters = InEffect("energy", "; ".join(filter(None, (read, why))), str(energy.POWERCAP))
    return (*told, *in_effect.of_process(), counters)


def clocks(
    session: Session, feeds: Mapping[str, np.ndarray], *, compute: bool, rounds: int, block_s: float, seed: int
) -> tuple[Clock, ...]:
    """The same engine timed over every region that it has, in rounds of one block of ``block_s`` seconds each, in random order.
    ``compute`` says whether its inputs can be put in place at all (``Backend.measures``).
    """
    calls = _calls(session, feeds, compute=compute)
    for _, _, call in calls:
        benchmark.warm_up(call, block_s)

    def block(place: int) -> tuple[tuple[int, ...], bool]:
        name, _, call = calls[place]
        times = benchmark.timed_block(call, block_s, device=name == str(Region.DEVICE))
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
    """(name, what it encloses, call), from the most to the least that is enclosed."""
    host, inside, device = (str(region) for region in (Region.HOST_TO_HOST, Region.COMPUTE, Region.DEVICE))
    if isinstance(session, GpuSession):
        # all of them work on the same buffers, which stay as they are
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
