"""Measure a deployment through its server: closed loops, Poisson arrivals, a fixed period, and the highest rate within a limit.

All times are taken by the clients, in this process, by the clock of :mod:`workbench.timing`.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, RunError
from workbench.measure.interleave import Rounds, interleave
from workbench.models.describe import counted as counted_text
from workbench.protocols import Caller
from workbench.records import ClosedLoop, Load, LoadBlock, LoadPlan, OpenLoop, OpenStretch, from_json
from workbench.records.load import STRETCHES, queries_for
from workbench.records.served import ServedLoad, Split, SplitRound
from workbench.runs.load_rounds import Bounds
from workbench.serving.in_process import InProcess, request
from workbench.serving.protocol import RefusedError
from workbench.serving.server import Server, served
from workbench.serving.server import statistics as counted
from workbench.system.machine import this_machine
from workbench.system.measuring_lock import hold_lock
from workbench.timing import load
from workbench.timing.load_tasks import COUNTED_PER_SKIPPED

if TYPE_CHECKING:
    from workbench.serving.http_client import HttpClient
    from workbench.serving.protocol import Client

LOG = logging.getLogger(__name__)
TRANSPORTS = ("http", "grpc")
REACHED_S = 0.5
BACK_OFF_S = 0.01
"""The pause of a client of a closed loop whose request was refused."""
LONGEST_BLOCK_S = 4.0
"""A block without an answer is repeated with twice its length, up to this one."""


@dataclass(frozen=True)
class LoadRequest:
    """What is measured."""

    plan: LoadPlan  # ``concurrency``: clients at once; ``callers``: clients of open loops, at most
    samples: int = 1  # in each request
    transport: str = "http"
    period_s: float = 0.0  # of arrivals one after another; 0: none
    deadline_s: float = 0.0  # of these; 0: the period
    batching: tuple[bool, ...] = (True, False)  # with which the server is started


def loadtest(folder: Path, asked: LoadRequest) -> tuple[ServedLoad, ...]:
    """Start the server for each value of ``asked.batching``, and measure.

    Args:
        folder: a deployment.
        asked: what is measured.

    Returns:
        A record for each start of the server.

    Raises:
        InputError: the deployment cannot take requests of that size, or a setting is not one.
        MissingPackageError, RunError: as :func:`workbench.serving.server.served`.

    Example::

        found = loadtest(Path("digits"), LoadRequest(LoadPlan(concurrency=(1, 4), rates=(200.0,))))

    """
    if asked.transport not in TRANSPORTS:
        raise InputError(f"'transport' must be one of {', '.join(TRANSPORTS)}; found '{asked.transport}'.")
    found = []
    for batching in asked.batching:
        LOG.info("starting the server %s", "with batching" if batching else "without batching")
        with served(folder, batching=batching) as server, hold_lock("measuring a server", alone=True, waiting=LOG.info):
            found.append(_Measuring(folder, asked, server, batching=batching).all())
        if not server.deployment.queue.max_batch:
            break  # its requests are never joined
    return tuple(found)


class _Measuring:
    """One server under load."""

    def __init__(self, folder: Path, asked: LoadRequest, server: Server, *, batching: bool) -> None:
        deployment = server.deployment
        self._folder, self._asked, self._server, self._batching = folder, asked, server, batching
        largest = deployment.queue.max_batch
        if largest and asked.samples > largest:
            raise InputError(
                f"A request of {asked.samples} samples is larger than the server's largest batch, {largest}. Lower --samples."
            )
        self._feeds = request(folder, asked.samples)

    def all(self) -> ServedLoad:
        deployment, plan = self._server.deployment, self._asked.plan
        when = datetime.now(UTC).isoformat(timespec="seconds")
        with ExitStack() as stack:
            control = self._server.http()
            stack.callback(control.close)
            about = control.json("/v2")
            split = self._split(control, max(plan.concurrency, default=1))
            closed = tuple(self._closed(level) for level in plan.concurrency)
            found = Load("", self._asked.samples, f"served {when}", plan, when, closed)
            for rate in plan.rates:
                found = replace(found, open=(*found.open, self._arrivals(rate, load.arrivals)))
            if plan.search:
                found = self._searched(found)
            periodic = self._periodic() if self._asked.period_s else None
        return ServedLoad(
            deployment.name,
            deployment.variant,
            self._asked.samples,
            self._asked.transport,
            self._batching,
            split,
            replace(found, open=tuple(sorted(found.open, key=lambda loop: loop.rate))),
            periodic,
            f"{about['name']} {about['version']}",
            deployment.run,
            deployment.batch,
            this_machine().label,
        )

    @contextmanager
    def _crew(self, count: int, pause_s: float = 0.0) -> Iterator[tuple[list[Caller], list[Callable[[], object]]]]:
        """Clients with a connection each, which was used once, as callers and calls."""
        make = self._server.http if self._asked.transport == "http" else self._server.grpc
        clients: list[Client] = [make() for _ in range(count)]
        try:
            calls = [_call(client, self._feeds, pause_s) for client in clients]
            for call in calls:
                call()
            yield [Caller(client.infer, lambda _: lambda: None) for client in clients], calls
        finally:
            for client in clients:
                client.close()

    def _block(self, count: int, seconds: float) -> load.ClosedTimes:
        with self._crew(count, BACK_OFF_S) as (callers, calls):
            return load.closed_block(callers, calls, seconds)

    def _answered_block(self, clients: int, seconds: float) -> load.ClosedTimes:
        """A block with at least one answer; the batcher may leave requests for half a second (:data:`workbench.deploy.triton.FEWEST`)."""
        found = self._block(clients, seconds)
        while not found.latencies_ns and seconds < LONGEST_BLOCK_S:
            seconds *= 2
            found = self._block(clients, seconds)
        return found

    def _split(self, control: HttpClient, clients: int) -> Split:
        """In every round, in random order: the engine in process, one client, and all clients."""
        plan, name = self._asked.plan, self._server.deployment.name
        rounds: dict[int, dict[str, float]] = {}
        with InProcess(self._folder, self._asked.samples) as engine:

            def measure(place: int) -> tuple[dict[str, float], bool]:
                if place == 0:
                    samples, quiet = engine.block(plan.block_s)
                    return {"in_process_s": statistics.median(samples) * 1e-9}, quiet
                if place == 1:
                    one = self._answered_block(1, plan.block_s)
                    return {"alone_s": statistics.median(_answered(one)) * 1e-9}, one.quiet
                before = counted(control, name)
                many = self._answered_block(clients, plan.block_s)
                inner = _per_request(before, counted(control, name))
                return {"loaded_s": statistics.fmean(_answered(many)) * 1e-9, **inner}, many.quiet

            for taken in interleave(3, Rounds(plan.rounds, plan.seed), measure):
                rounds.setdefault(taken.round, {}).update(taken.value)
                self._server.check_alive()
        return Split(clients, tuple(SplitRound(number, **values) for number, values in sorted(rounds.items())))

    def _closed(self, level: int) -> ClosedLoop:
        LOG.info("%s at once", counted_text(level, "client"))
        plan, blocks = self._asked.plan, []
        for number in range(plan.rounds):
            found = self._answered_block(level, plan.block_s)._asdict()
            blocks.append(from_json(LoadBlock, found | {"round": number, "position": 0}))
        return ClosedLoop(level, tuple(blocks), f"{level} connections over {self._asked.transport}")

    def _arrivals(self, rate: float, due: Callable[[float, int, int], list[int]], limit_s: float = 0.0) -> OpenLoop:
        """An open loop at this rate; ``due`` gives the times of arrival, from a rate, a count and a seed."""
        plan, limit_s = self._asked.plan, limit_s or self._asked.plan.limit_s
        LOG.info("%.4g requests per second", rate)
        planned = -(-queries_for(rate, plan.block_s * plan.rounds, plan.percent, limit_s) // STRETCHES) * STRETCHES
        loop = OpenLoop(rate, plan.callers, limit_s, plan.percent, plan.seed, planned)
        try:
            with self._crew(plan.callers) as (callers, calls):
                for number in range(STRETCHES):
                    count = planned // STRETCHES
                    skipped = max(1, count // COUNTED_PER_SKIPPED)
                    may_be_over = planned * (1 - plan.percent / 100) - sum(one.over for one in loop.stretches) / 3
                    times = due(rate, count + skipped, plan.seed * 1000 + number)
                    taken = load.open_stretch(callers, calls, times, int(limit_s * 1e9), max(0.0, may_be_over), skipped)
                    loop = replace(loop, stretches=(*loop.stretches, from_json(OpenStretch, taken._asdict())))
                    if taken.ended_early:
                        break
        except RunError as error:
            loop = replace(loop, failure=error.message)
        return loop

    def _periodic(self) -> OpenLoop:
        period = self._asked.period_s
        deadline = self._asked.deadline_s or period
        return self._arrivals(1 / period, lambda rate, count, _: load.periodic(rate, count), deadline)

    def _searched(self, found: Load) -> Load:
        """Bisection between no requests and what a closed loop of as many clients reached."""
        plan = self._asked.plan
        reached = self._answered_block(plan.callers, max(plan.block_s, REACHED_S))
        _answered(reached)
        bounds = Bounds(0.0, reached.calls / reached.wall_s)
        while bounds.open:
            loop = self._arrivals((bounds.holds + bounds.beyond) / 2, load.arrivals)
            found = replace(found, open=(*found.open, loop))
            if why := bounds.why_not(loop):
                found = replace(found, search_note=why)
        return found


def _call(client: Client, feeds: dict[str, Any], pause_s: float) -> Callable[[], object]:
    """One request, which is encoded once; where it is refused, the client pauses, because it would otherwise do nothing but be refused."""
    ask = client.prepared(feeds)

    def call() -> object:
        try:
            return ask()
        except RefusedError:
            time.sleep(pause_s)
            return load.REFUSED

    return call


def _answered(times: load.ClosedTimes) -> list[int]:
    """Raises RunError where no request was answered."""
    if not times.latencies_ns:
        raise RunError("No request was answered within a block of a closed loop. Use fewer clients.")
    return times.latencies_ns


def _per_request(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Mean seconds of a request in the server's queue and in the model, between two readings of its counters."""

    def mean(name: str) -> float:
        first, last = (each["inference_stats"][name] for each in (before, after))
        count = int(last.get("count", 0)) - int(first.get("count", 0))
        return (int(last.get("ns", 0)) - int(first.get("ns", 0))) * 1e-9 / max(1, count)

    return {"queue_s": mean("queue"), "inside_s": mean("compute_infer")}
