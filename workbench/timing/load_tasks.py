"""Worker tasks under load: stage inputs for several callers, time them, and run LoadGen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.samples import load_samples
from workbench.errors import RunError, during
from workbench.protocols import Caller, Callers, LoadSession, Progress, Session
from workbench.records import LoadPlan, Region, from_json, to_json
from workbench.timing import load

if TYPE_CHECKING:
    import numpy as np


COUNTED_PER_SKIPPED = 9
"""The first tenth of a stretch's arrivals meet an empty queue and are not counted."""


class Staged:
    """The prepared callers of this process, and the call of each."""

    callers: tuple[Caller, ...] = ()
    calls: tuple[Callable[[], object], ...] = ()
    call_s = 0.0  # of one call while all callers call


def callers_of(session: Session, count: int, *, fewer: bool = False) -> Callers:
    """Return ``count`` callers of the session; with ``fewer``, one if the library serves only one.

    Raises:
        RunError: the library serves only one caller, and ``fewer`` is False.
    """
    if isinstance(session, LoadSession):
        return session.callers(count)
    if count > 1 and not fewer:
        raise RunError(f"This engine serves one caller at a time; {count} callers were requested.")
    return Callers((Caller(session.run, session.stage),), "one caller only")


def prepare_load(
    session: Session,
    progress: Progress,
    samples: str,
    batch: int,
    region: str,
    concurrency: int,
    warm_up_s: float,
    fewer: bool = False,
) -> Any:
    """Stage inputs of this batch size for ``concurrency`` callers, and warm up all of them together."""
    feeds = load_samples(Path(samples)).feeds(0, batch)
    progress(f"warm up {concurrency} callers at batch {batch}")
    with during("run", f"{concurrency} callers at batch {batch}", RunError):
        found = callers_of(session, concurrency, fewer=fewer)
        Staged.callers = found.each
        Staged.calls = tuple(_call(caller, feeds, Region(region)) for caller in found.each)
        for call in Staged.calls:
            call()  # once sequentially: libraries allocate memory in the first call of a shape
        began = time.perf_counter()
        warm = load.closed_block(Staged.callers, Staged.calls, warm_up_s)
        spent_s = time.perf_counter() - began  # calls longer than the warm-up begin before it and end after it
        Staged.call_s = statistics.median(warm.latencies_ns) * 1e-9 if warm.latencies_ns else spent_s
        return {"note": found.note, "callers": len(found.each)}


def _call(caller: Caller, feeds: Mapping[str, np.ndarray], region: Region) -> Callable[[], object]:
    return caller.stage(feeds) if region == Region.COMPUTE else lambda: caller.run(feeds)


def load_block(session: Session, progress: Progress, seconds: float) -> Any:  # noqa: ARG001 - every task takes both
    with during("run", f"{len(Staged.calls)} callers at once", RunError):
        least = load.CALLS_EACH * Staged.call_s
        return load.closed_block(Staged.callers, Staged.calls, max(seconds, least))._asdict()


def open_stretch(
    session: Session,  # noqa: ARG001
    progress: Progress,  # noqa: ARG001
    rate: float,
    count: int,
    seed: int,
    latency_limit_s: float,
    may_be_over: float,
) -> Any:
    """Run Poisson arrivals at ``rate`` per second and count ``count`` of them."""
    skipped = -(-count // COUNTED_PER_SKIPPED)
    due = load.arrivals(rate, count + skipped, seed)
    with during("run", f"{rate:g} queries per second", RunError):
        limit_ns = int(latency_limit_s * 1e9)
        return load.open_stretch(Staged.callers, Staged.calls, due, limit_ns, may_be_over, skipped)._asdict()


def loadgen(
    session: Session, progress: Progress, samples: str, batch: int, plan: dict[str, Any], rate: float = 0.0
) -> Any:
    """Run LoadGen once by a :class:`workbench.records.LoadPlan` as JSON; ``rate`` is that of samples per second."""
    from workbench.timing.loadgen import run

    progress("LoadGen")
    with during("run", "LoadGen", RunError):
        load_plan = from_json(LoadPlan, plan)
        return to_json(run(lambda count: callers_of(session, count, fewer=True), Path(samples), batch, load_plan, rate))


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task for task in (prepare_load, load_block, open_stretch, loadgen)
}
"""Called with the open session and a function that reports progress."""
