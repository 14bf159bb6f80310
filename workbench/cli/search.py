"""The command ``search``: the best setting of an engine under limits, without measuring all of them."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer, Exit
from workbench.cli.loadtest import numbers
from workbench.cli.surroundings import EndedBySignal
from workbench.display import searched
from workbench.display.table import Row
from workbench.errors.printable import one_line
from workbench.records import Event
from workbench.search.under_limits.wanted import FIELDS, OBJECTIVES, RACE, point_s
from workbench.settings.experiment import Experiment
from workbench.settings.options import add_run_settings, add_settings, command_line, given, path
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.search.under_limits.find import SearchResult

LOG = logging.getLogger(__name__)
RUNS = "workbench.runs"
"""The logger of runs."""
MIB = 2**20
HELP = "find the best backend, precision, batch and threads under limits, without measuring all of them"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--objective",
        choices=OBJECTIVES,
        default="throughput",
        help="the highest throughput, the least latency, or the least energy of a sample (default: throughput)",
    )
    add(
        "--latency-limit-ms",
        type=float,
        default=math.inf,
        metavar="MS",
        help="largest median time of a call (default: none)",
    )
    add(
        "--memory-limit-mib",
        type=float,
        default=math.inf,
        metavar="MIB",
        help="largest memory of the engine's process (default: none)",
    )
    add("--threads", type=numbers(int), default=(1,), metavar="N,N", help="numbers of CPU threads to try (default: 1)")
    add(
        "--streams",
        type=numbers(int),
        default=(1,),
        metavar="N,N",
        help="numbers of calls in flight to try, on NVIDIA GPUs (default: 1)",
    )
    add("--share", type=float, default=0.1, help="share of the points that is measured, at least 12 (default: 0.1)")
    add(
        "--output",
        type=path,
        metavar="FILE",
        help="afterwards compare the best points with FP32 in a report, and write it to this HTML file (default: no report)",
    )
    add_run_settings(parser, "store")
    add_settings(parser, FIELDS)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """What was tried and why, the Pareto front, and the answer, with a report where it was asked for; status 1 where no measured point
    holds the limits. Each point is timed as :func:`workbench.search.under_limits.wanted.point_s` says unless ``--measure-s`` is given.
    """
    from workbench.report import page, written
    from workbench.search.under_limits.document import document
    from workbench.search.under_limits.find import find_best

    asked = given(options, FIELDS)
    seconds = asked.pop("measure_s", 0.0) or point_s(options.objective, Experiment(**asked).backends)
    experiment = Experiment(**asked, measure_s=seconds, max_measure_s=seconds)
    if options.output:
        written.check_place(experiment.resolved(), options.store, options.output, writes=True)
    with _points_alone(verbose=options.verbose):
        found = find_best(
            experiment,
            objective=options.objective,
            latency_limit_s=options.latency_limit_ms * 1e-3,
            memory_limit_bytes=options.memory_limit_mib * MIB,
            threads=options.threads,
            streams=options.streams,
            share=options.share,
            store=options.store or None,
            on_event=partial(_told, bar),
        )
    status = Exit.OK if found.best else Exit.FAILED
    error = "" if found.best else _nothing(found)
    if found.cancelled:
        status = Exit.INTERRUPTED if EndedBySignal.seen is None else Exit(128 + EndedBySignal.seen)
        error = "The search was ended; this is the best so far. The same command continues from there."
    plain: dict[str, Any] = {**document(found), "report": None}
    text = _text(plain)
    if options.output and found.experiment and not found.cancelled:
        executed, *_ = written.write_report(found.experiment, options.output, {"store": options.store}, bar)
        plain["report"] = str(options.output)
        text = "\n".join((text, "", *page.tagged_text(executed, "summary"), f"report: {one_line(options.output)}"))
    return Answer(text, plain, status, error)


def _told(bar: ProgressBar, event: Event) -> None:
    """Show an event, and log points that were measured and waits for other processes."""
    bar(event)
    progress = event.progress
    if event.wait:
        LOG.info("%s", event.text)
    elif progress and progress.phase == "search" and not event.detail:
        LOG.info("%d of %d points: %s", progress.done, progress.total, event.text)
    elif progress and progress.phase == RACE and not event.detail:
        LOG.info("%s: %s", event.text, progress.left)


@contextmanager
def _points_alone(*, verbose: bool) -> Iterator[None]:
    """Log nothing but warnings of the runs that measure single points, unless all is to be logged."""
    runs = logging.getLogger(RUNS)
    before = runs.level
    if not verbose:
        runs.setLevel(logging.WARNING)
    try:
        yield
    finally:
        runs.setLevel(before)


def _text(found: dict[str, Any]) -> str:
    """The document for people."""
    lines = [f"{searched.counts(found)}:"]
    lines += [f"  {step['point']}: {_measured(step)}; {step['why']}" for step in found["steps"]]
    table = searched.scores(found)
    lines += ["", "accuracy by backend and precision:"] if table.rows else []
    for row in table.rows:
        why = row["Not taken"]
        text = row["Accuracy"] or f"not taken: {why}"
        lines.append(f"  {row['Backend']} {row['Precision']}: {text}")
    front = searched.front(found)
    lines += ["", f"{front.title.replace('The', 'the', 1)}:"]
    lines += [f"  {step['point']}: {_measured(step)}" for step in front.rows]
    lines += ["", "the best, in turn:"]
    for each in found["finalists"]:
        text = searched.outcome(each, found["objective"])
        text = text or searched.call_cost(searched.step_of(found, each["point"]), found)
        lines.append(f"  {each['point']}: {text}")
    lines += [f"no last race: {found['note']}"] if found["note"] else []
    lines += [text for text in (searched.doubt(found), searched.faster(found), searched.chance(found)) if text]
    lines += [f"Not possible here: {each['variant']}: {each['why']}" for each in found["left_out"]]
    if found["parameters"] is not None:
        lines.append(f"To compare these with FP32 in a report: {command_line('report', found['parameters'])}")
    return "\n".join(map(one_line, lines))


def _measured(step: Row) -> str:
    if step["call_s"] is None:
        return f"not measured: {step['problem']}"
    kept = ", from the store" if step["reused"] else ""
    energy = f", {text}" if (text := searched.call_energy(step)) else ""
    return f"{searched.call_time(step)}, {step['samples_per_s']:,.0f} samples/s{energy}{kept}"


def _nothing(found: SearchResult) -> str:
    """Why there is no answer."""
    if any(step.measured.call_s is not None for step in found.steps):
        return "No measured point holds the limits."
    why = next((step.measured.problem for step in found.steps if step.measured.problem), "none was begun")
    return f"No point could be measured; the first one: {why}"
