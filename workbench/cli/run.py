"""The command ``run``: run an experiment without a Jupyter kernel and print its results, for scripts and build servers."""

from __future__ import annotations

import argparse

from workbench.cli import dry_run, track, where
from workbench.cli.answer import Answer, Exit
from workbench.cli.surroundings import EndedBySignal
from workbench.records import Results
from workbench.settings.experiment import Experiment
from workbench.settings.options import add_run_settings, add_settings, given
from workbench.settings.time_limit import minutes_of
from workbench.system.progress import ProgressBar

NOT_MEASURED = "No row was measured; the rows say why."
NOT_SCORED = "The results have no accuracy; the first lines say why."
NOT_BUILT = "No engine was built; the rows say why."
HELP = "run an experiment and print its results, without a notebook or a report"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--build-only", action="store_true", help="build the engines and stop before measuring")
    dry_run.add_to(parser)
    track.add_to(parser)
    add_run_settings(parser, "store", "remeasure", "minutes", *where.NAMES)
    add_settings(parser)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The table of results; status 1 where nothing was measured, or with ``--build-only`` built."""
    from workbench.cluster.where import run as run_there
    from workbench.records import Status
    from workbench.report.document import document
    from workbench.runs.scoring import NO_ACCURACY

    only = "build" if options.build_only else "all"
    there = where.settings(options)
    minutes_of(options.minutes)
    if options.dry_run:
        return dry_run.answer(Experiment(**given(options)), options, only=only)
    track.check(options)
    experiment = Experiment(**given(options)).resolved()
    results = run_there(
        experiment,
        there,
        store=options.store or None,
        on_event=bar,
        only=only,
        remeasure=options.remeasure,
        minutes=options.minutes,
    )
    cancelled = any(row.status == Status.CANCELLED and not row.left_out for row in results.rows)
    done = any(row.engine for row in results.rows) if options.build_only else bool(results.measured)
    status = Exit.OK if done else Exit.FAILED
    if done and any(text.startswith(NO_ACCURACY) for text in results.warnings):
        status = Exit.NO_ACCURACY
    error = (
        NOT_SCORED if status == Exit.NO_ACCURACY else "" if done else NOT_BUILT if options.build_only else NOT_MEASURED
    )
    if cancelled:
        status = Exit.INTERRUPTED if EndedBySignal.seen is None else Exit(128 + EndedBySignal.seen)
        error = "Ended before all rows were done. What was finished is kept; the same command continues from there."
    found = document(results)
    text = "\n".join(filter(None, [_text(results), track.tracked(options, found, experiment)]))
    return Answer(text, found, status, error)


def _text(results: Results) -> str:
    """Warnings, the table and its notes, and last, where a terminal shows it, which variant to take."""
    from workbench.compare.summary import summary
    from workbench.display.table import wrapped

    warnings = [line for text in results.warnings for line in wrapped(f"Warning: {text}")]
    said = summary(results)
    found = [line for text in (*said.lines(), *said.more) for line in wrapped(text)]
    return "\n".join(
        [
            *warnings,
            results.table().text(),
            "",
            *found,
            f"measured on {results.machine.label}",
            f"this run: {results.tally}",
        ]
    )
