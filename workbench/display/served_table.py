"""Measurements of a served deployment, as tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workbench.compare.formats import ms
from workbench.compare.load_table import rate_note
from workbench.display.table import NUMBER, WHOLE, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.records import OpenLoop, Results
    from workbench.records.served import LatencyPart, ServedLoad

MODE = (
    Column("deployed"),
    Column("batching"),
    Column("samples", WHOLE, help="In each request"),
    Column("clients", WHOLE),
)
INTERVAL = (Column("low", NUMBER, "ms"), Column("high", NUMBER, "ms"))
SPLIT = (*MODE, Column("part"), Column("", NUMBER, "ms"), *INTERVAL, Column("note", note=True))
CLOSED = (
    *MODE,
    Column("requests/s", NUMBER),
    Column("mean", NUMBER, "ms"),
    *(Column(f"p{percent}", NUMBER, "ms") for percent in (50, 90, 99)),
    Column("refused", WHOLE, help="Requests that found the queue full, counted by the clients"),
)
OPEN = (
    *MODE,
    Column("arrivals"),
    Column("requests/s", NUMBER),
    Column("percentile"),
    Column("", NUMBER, "ms"),
    *INTERVAL,
    Column("limit", NUMBER, "ms"),
    Column("missed", WHOLE, help="Requests that were answered after the limit or refused"),
    Column("refused", WHOLE),
    Column("of", WHOLE),
    Column("answer"),
    Column("note", note=True),
)


def served_tables(loads: Sequence[ServedLoad], results: Results | None = None) -> tuple[Table, ...]:
    """The latency in three parts; clients at once; arrivals. Tables without rows are left out. ``results``: of the run that was deployed."""
    made = (split(loads, results), closed(loads), arrivals(loads))
    return tuple(each for each in made if each.rows)


def split(loads: Sequence[ServedLoad], results: Results | None = None) -> Table:
    """A row for each part of a latency; the notes name what the run measured of the same row."""
    about = (
        "The engine in process; what a client that is alone waits longer for the server; the wait in the server's queue under load. "
        "95 % intervals over rounds, in which all of them took turns."
    )
    rows = [row for one in loads for row in _parts(one)]
    return Table(SPLIT, tuple(rows), title=titled("Served", loads), about=about, notes=_measured_notes(loads, results))


def titled(text: str, loads: Sequence[ServedLoad]) -> str:
    """A title with the servers and transports."""
    return ", ".join([text, *dict.fromkeys(part for one in loads for part in (one.server, one.transport) if part)])


def _measured_notes(loads: Sequence[ServedLoad], results: Results | None) -> tuple[str, ...]:
    """What the run measured of the rows that were deployed, where the requests had as many samples as its calls."""
    if results is None:
        return ()
    medians = {row.row: row.timing.median_s * 1e3 for row in results.rows if row.timing}
    notes = []
    for one in loads:
        if one.row in medians and one.samples == one.batch:
            notes.append(f"{one.row}: the run measured a median of {medians[one.row]:.3g} ms in process.")
        if one.machine != results.machine.label:
            notes.append(f"{one.row}: was served on another machine than that of the run ({one.machine}).")
    return tuple(dict.fromkeys(notes))


def _parts(one: ServedLoad) -> Iterable[dict[str, Any]]:
    parts = one.split
    named: tuple[tuple[int, str, LatencyPart], ...] = (
        (1, "in process", parts.in_process),
        (1, "server overhead", parts.overhead),
        (parts.clients, "queueing", parts.queueing),
        (parts.clients, "whole request", parts.loaded),
    )
    for clients, name, part in named:
        row = _mode(one, clients) | {"part": name, "ms": part.value * 1e3}
        if not math.isnan(part.low):
            row |= {"low ms": part.low * 1e3, "high ms": part.high * 1e3}
        yield row


def closed(loads: Sequence[ServedLoad]) -> Table:
    """A row for each number of clients that send the next request when the last one is answered."""
    rows = []
    for one in loads:
        for loop in one.load.measured:
            row = _mode(one, loop.concurrency) | {"requests/s": loop.queries_per_s, "mean ms": loop.mean_s * 1e3}
            row |= {f"p{percent} ms": ms(loop.percentile_s(percent)) for percent in (50, 90, 99)}
            rows.append(row | {"refused": sum(block.refused for block in loop.blocks)})
    about = "Each client sends its next request as soon as it has its answer."
    return Table(CLOSED, tuple(rows), title=titled("Served: clients at once", loads), about=about)


def arrivals(loads: Sequence[ServedLoad]) -> Table:
    """A row for each rate of arrivals; the notes say up to which rate the limit holds, where that was searched for."""
    rows = [_open(one, "Poisson", loop) for one in loads for loop in one.load.open]
    rows += [_open(one, "fixed period", one.periodic) for one in loads if one.periodic]
    about = "Requests arrive at random times or at a fixed period, whether or not earlier ones were answered; latency counts from the arrival."
    notes = tuple(_searched(one) for one in loads if one.load.plan.search)
    return Table(OPEN, tuple(rows), title=titled("Served: arrivals", loads), about=about, notes=notes)


def _open(one: ServedLoad, kind: str, loop: OpenLoop) -> dict[str, Any]:
    tail = loop.tail
    row = _mode(one, loop.callers) | {"arrivals": kind, "requests/s": loop.rate, "percentile": f"p{loop.percent:g}"}
    row |= {"ms": tail.value * 1e3, "low ms": tail.low * 1e3, "high ms": tail.high * 1e3} if tail else {}
    missed = sum(stretch.over for stretch in loop.stretches)
    row |= {"limit ms": loop.limit_s * 1e3, "missed": missed, "refused": loop.refused, "of": loop.queries}
    return row | {"answer": "" if loop.failure else str(loop.answer), "note": rate_note(loop)}


def _searched(one: ServedLoad) -> str:
    holds, beyond = one.load.bracket
    text = f"holds up to {holds:,.4g} requests/s" if holds else "no rate was found that holds the limit"
    above = f", and not at {beyond:,.4g}" if beyond else ""
    return f"{one.row}, {'with' if one.batching else 'without'} batching: {text}{above}. {one.load.search_note}".strip()


def _mode(one: ServedLoad, clients: int) -> dict[str, Any]:
    return {
        "deployed": one.row,
        "batching": "on" if one.batching else "off",
        "samples": one.samples,
        "clients": clients,
    }
