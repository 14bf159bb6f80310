"""The command ``report``: run an experiment without a panel and write one HTML file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from workbench.cli import dry_run, track, where
from workbench.cli.answer import Answer, Exit
from workbench.errors import InputError
from workbench.errors.printable import one_line
from workbench.report.progress import ProgressBar
from workbench.settings.experiment import Experiment
from workbench.settings.options import add_run_settings, add_settings, given, path
from workbench.settings.time_limit import minutes_of
from workbench.store import Store

NOT_SCORED = "The report has no accuracy; its first lines say why."
NOT_MEASURED = "No row was measured; the report says of each why not."
HELP = "run an experiment without a panel and write one HTML file"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=path, default=Path("reports/workbench.html"), help="the HTML file to write")
    dry_run.add_to(parser)
    track.add_to(parser)
    add_run_settings(parser, "store", "remeasure", "minutes", "run", *where.NAMES)
    add_settings(parser)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """Write the report and its notebook; the answer is the summary, with status 1 where nothing was measured and 3 where nothing was scored."""
    experiment = _of_run(options) if options.run else Experiment(**given(options)).resolved()
    there, minutes = where.settings(options), minutes_of(options.minutes)
    if options.dry_run:
        return dry_run.answer(experiment, options)
    track.check(options)
    html: Path = options.output
    from workbench.report import page, written
    from workbench.runs.scoring import NO_ACCURACY

    if not options.run:
        written.check_inputs(experiment, here=not there.cluster)
    written.check_place(experiment, options.store, html, writes=not options.run)
    more = {"store": options.store, "remeasure": options.remeasure, "minutes": minutes}
    more |= {"run": options.run} if options.run else asdict(there)
    executed, results, seconds = written.write_report(experiment, html, more, bar)
    summary = page.tagged_text(executed, "summary")
    tracked = track.tracked(options, results, experiment, [html, executed])
    summary += [tracked] if tracked else []
    places = f"\nreport: {one_line(html)}\nnotebook: {one_line(executed)}\ntime: {seconds:.1f} s"
    document = {"report": str(html), "notebook": str(executed), "wall_s": seconds, "results": results}
    measured = results is not None and any(row["timing"] for row in results["rows"])
    status, error = (Exit.OK, "") if measured else (Exit.FAILED, NOT_MEASURED)
    if results and measured and any(text.startswith(NO_ACCURACY) for text in results["warnings"]):
        status, error = Exit.NO_ACCURACY, NOT_SCORED
    return Answer("\n".join([*summary, places]), document, status, error)


def _of_run(options: argparse.Namespace) -> Experiment:
    """The experiment of the run of the history that is to be shown.

    Raises:
        InputError: there is no such run, or settings were given that a run which is shown as it was cannot take.
    """
    from workbench.runs.archive import find, runs
    from workbench.runs.open_run import asked_for, facts_of

    more = [*given(options), *(name for name in ("dry_run", "remeasure", "minutes") if getattr(options, name))]
    if more:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in more)
        raise InputError(
            f"--run shows a run as it was, and takes no other settings; found {names}. Leave out one or the other."
        )
    store = Store(options.store or None)
    return asked_for(facts_of(find(options.run, runs(store)), store)) or Experiment()
