"""The command ``loadtest``: measure a deployment through its server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.errors import InputError
from workbench.errors.printable import one_line
from workbench.records import LoadPlan, Progress
from workbench.report.document import fields
from workbench.settings.options import add_run_settings, path
from workbench.store import Store
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.records import OpenLoop
    from workbench.records.served import LatencyPart, ServedLoad

HELP = "measure a deployment through its server, with and without batching"


def numbers(kind: Callable[[str], float]) -> Callable[[str], tuple[float, ...]]:
    """A parser of numbers above 0 with commas between them."""

    def parse(text: str) -> tuple[float, ...]:
        found = tuple(sorted({kind(each) for each in text.split(",") if each.strip()}))
        if any(each <= 0 for each in found):
            raise ValueError
        return found

    parse.__name__ = "list of numbers above 0"
    return parse


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=path, metavar="DIR", help="a folder that deploy wrote")
    add("--clients", type=numbers(int), default=(1, 4), help="clients at once, in closed loops (default 1,4)")
    add("--rate", type=numbers(float), default=(), help="requests per second that arrive at random times (Poisson)")
    add("--period-ms", type=float, default=0.0, help="milliseconds between arrivals at a fixed period")
    add("--deadline-ms", type=float, default=0.0, help="the deadline of these; by default the period")
    add("--search", action="store_true", help="search for the highest rate that holds the limit")
    add("--limit-ms", type=float, default=100.0, help="the latency limit of arrivals (default 100)")
    add("--percentile", type=float, default=99.0, help="the percentile that must be within the limit (default 99)")
    add("--samples", type=int, default=1, help="samples in each request (default 1)")
    add("--transport", choices=("http", "grpc"), default="http", help="the protocol of the clients (default http)")
    add(
        "--batching",
        choices=("both", "on", "off"),
        default="both",
        help="whether the server joins requests (default both)",
    )
    add("--rounds", type=int, default=12, help="rounds (default 12)")
    add("--block-s", type=float, default=0.25, help="seconds of one block of a round (default 0.25)")
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The measurements, with each start of the server; they are kept in the store, beside the run whose row was deployed."""
    from workbench.display.served_table import served_tables
    from workbench.runs.served import keep_served
    from workbench.serving.loadtest import loadtest

    bar.update(Progress("measure the server"))
    asked = _asked(options)
    store = Store.of(options.store).prepare()
    found = loadtest(options.folder, asked)
    keep_served(found, store)
    text = "\n\n".join(table.text() for table in served_tables(found))
    return Answer(text, {"folder": str(options.folder), "measured": [_document(one) for one in found]})


def _asked(options: argparse.Namespace) -> Any:
    from workbench.serving.loadtest import LoadRequest

    for name in ("limit_ms", "samples", "block_s"):
        if getattr(options, name) <= 0:
            raise InputError(f"'--{name.replace('_', '-')}' must be above 0; found {getattr(options, name):g}.")
    if not 50 <= options.percentile < 100 or options.rounds < 2 or min(options.period_ms, options.deadline_ms) < 0:
        raise InputError(
            "'--percentile' must be from 50 to below 100, '--rounds' at least 2, and '--period-ms' and '--deadline-ms' not below 0."
        )
    plan = LoadPlan(
        concurrency=tuple(int(each) for each in options.clients),
        callers=int(max(options.clients, default=1)),
        rounds=options.rounds,
        block_s=options.block_s,
        rates=options.rate,
        search=options.search,
        limit_s=options.limit_ms * 1e-3,
        percent=options.percentile,
    )
    batching = {"both": (True, False), "on": (True,), "off": (False,)}[options.batching]
    return LoadRequest(
        plan, options.samples, options.transport, options.period_ms * 1e-3, options.deadline_ms * 1e-3, batching
    )


def _document(one: ServedLoad) -> dict[str, Any]:
    holds, beyond = one.load.bracket if one.load.plan.search else (None, None)
    return {
        "name": one.deployment,
        **fields(one, "variant", "server", "batching", "samples", "transport"),
        "clients": one.split.clients,
        "in_process": _part(one.split.in_process),
        "overhead": _part(one.split.overhead),
        "queueing": _part(one.split.queueing),
        "whole": _part(one.split.loaded),
        "closed": [
            {
                "clients": loop.concurrency,
                "requests_per_s": loop.queries_per_s,
                "mean_s": loop.mean_s,
                "p50_s": loop.percentile_s(50),
                "p99_s": loop.percentile_s(99),
                "refused": sum(block.refused for block in loop.blocks),
            }
            for loop in one.load.measured
        ],
        "arrivals": [_arrivals("poisson", loop) for loop in one.load.open],
        "periodic": _arrivals("period", one.periodic) if one.periodic else None,
        "holds_per_s": holds,
        "does_not_hold_per_s": beyond,
        "note": one_line(one.load.search_note),
        "refused": one.refused,
    }


def _part(part: LatencyPart) -> dict[str, float]:
    return {"s": part.value, "low_s": part.low, "high_s": part.high}


def _arrivals(kind: str, loop: OpenLoop) -> dict[str, Any]:
    value, low, high = loop.tail or (None, None, None)
    return {
        "kind": kind,
        "rate_per_s": loop.rate,
        "percentile": loop.percent,
        "latency_s": value,
        "low_s": low,
        "high_s": high,
        "limit_s": loop.limit_s,
        "requests": loop.queries,
        "missed": sum(stretch.over for stretch in loop.stretches),
        "refused": loop.refused,
        "answer": str(loop.answer),
        "failure": loop.failure,
    }
