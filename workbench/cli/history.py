"""The command ``history``: results of all runs in the store, the runs themselves, or some of them side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.errors import writing
from workbench.errors.printable import one_line
from workbench.models.describe import counted
from workbench.settings.options import PROGRAM, add_run_settings, command_line, path
from workbench.settings.output_files import check_output
from workbench.store import Store
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("time", "model", "variant", "batch", "status", "p50_ms", "samples_per_s", "accuracy", "agreement")
NOTHING: dict[str, Any] = {
    "results": [],
    "runs": [],
    "unfinished": [],
    "compared": [],
    "csv": None,
    "exported": None,
    "imported": None,
}
"""The document of an answer, of which each part is filled by an option."""
HELP = "results of all runs in the store, the newest first"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    for name in ("model", "variant", "backend", "precision", "machine", "status"):
        add(f"--{name}", default="", metavar="PATTERN", help='only those that match, such as "resnet*"')
    add("--batch", type=int, metavar="N", help="only this batch size")
    add("--since", metavar="TIME", help="only from then on, such as 2026-11-01; UTC")
    add("--until", metavar="TIME", help="only before then")
    add("--limit", type=int, default=40, metavar="N", help="at most so many (default: 40)")
    add("--csv", type=path, metavar="FILE", help="write them, all columns, into this file instead")
    add("--runs", action="store_true", help="the names of the runs instead")
    add(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="these runs side by side, each by its name, the last letters of it, or latest",
    )
    add(
        "--export",
        nargs=2,
        metavar=("RUN", "FILE"),
        help="write a run, by its name, the last letters of it, or latest, as one file that ends in .wbrun",
    )
    add("--with-model", action="store_true", help="with --export: put the model into the file as well")
    add("--import", dest="file", type=path, metavar="FILE", help="take a run from such a file into the store")
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:  # noqa: ARG001 - the same for all commands
    """The results that match, the runs, some runs side by side, or a run that was written to or read from a file."""
    if options.export:
        return _exported(options)
    if options.file:
        return _imported(options)
    if options.compare:
        return _compared(options)
    if options.runs:
        return _runs(options)
    from workbench.runs.archive import history, not_own

    names = ("model", "variant", "backend", "precision", "machine", "status", "batch", "since", "until", "limit")
    found = history(options.store or None, **{name: getattr(options, name) for name in names})
    document: dict[str, Any] = NOTHING | {"results": records(found)}
    if options.csv:
        _write(found, options.csv)
        return Answer(f"{len(found)} results written to {options.csv}", document | {"csv": str(options.csv)})
    early = _early(options)
    if found.empty:
        return Answer("\n".join(["No results.", *early]), document)
    from workbench.display.table import Table

    shown = [*SHOWN, "machine"] if len(set(found["machine"])) > 1 else list(SHOWN)
    text = [Table.of(found[shown]).text()]
    if len(found) == options.limit:
        text.append(f"The newest {options.limit}; for more choose --limit.")
    text += early
    if others := not_own(Store(options.store or None)):
        text.append(
            f"Runs of these that were not signed with your key (made elsewhere or by an earlier version): {others}."
        )
    return Answer("\n".join(text), document)


def _early(options: argparse.Namespace) -> list[str]:
    """A line that says how many runs have not done all of their rows."""
    from workbench.runs.unfinished import unfinished

    number = len(unfinished(Store(options.store or None)))
    return (
        [f"{counted(number, 'run')} without all rows: {PROGRAM} history --runs says what there is."] if number else []
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table by column, as JSON takes them: times in ISO 8601, null for what is missing."""
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
    return found


def _write(table: pd.DataFrame, path: Path) -> None:
    from workbench.runs.index import NAMES

    first = ",".join(NAMES).encode()
    check_output(path, option="--csv", endings=(".csv",), written_here=lambda start: start.startswith(first))
    with writing(path, "option --csv"):
        table.to_csv(path, index=False)


def _runs(options: argparse.Namespace) -> Answer:
    from workbench.runs.archive import runs
    from workbench.runs.unfinished import unfinished

    found = runs(Store(options.store or None), options.limit)
    listed = [
        {
            "run": run.name,
            "time": run.time,
            "model": run.model,
            "results": run.rows,
            "parameters": run.parameters,
            "imported": run.imported,
        }
        for run in found
    ]
    early = {each.name: each for each in unfinished(Store(options.store or None))}
    lines = [
        one_line(f"{run.name}  {run.summary}, {counted(run.rows, 'result')}")
        + (
            f"; {early[run.name].state}, {early[run.name].ended} of {early[run.name].rows} rows"
            if run.name in early
            else ""
        )
        for run in found
    ]
    lines += [f"{each.name}  {each.summary}" for each in early.values() if not each.results]
    unended = [
        {"run": each.name, "state": each.state, "ended": each.ended, "rows": each.rows, "step": each.step, "results": each.results,
         "again": each.again, "parameters": each.parameters}
        for each in early.values()
    ]  # fmt: skip
    return Answer("\n".join(lines), NOTHING | {"runs": listed, "unfinished": unended})


def _exported(options: argparse.Namespace) -> Answer:
    from workbench.runs.travel import export_run

    name, file = options.export
    found = export_run(name, file, options.store or None, with_model=options.with_model)
    text = (
        f"run {found.run} written to {found.path} ({found.size_bytes / 1e6:.2f} MB{', with the model' * found.model})"
    )
    document = {"run": found.run, "file": str(found.path), "size_bytes": found.size_bytes, "model": found.model}
    return Answer(one_line(text), NOTHING | {"exported": document})


def _imported(options: argparse.Namespace) -> Answer:
    from workbench.runs.travel import import_run

    found = import_run(options.file, options.store or None)
    what = found.results.imported or "it was measured here"
    lines = [f"run {found.run}: {what}" + ("" if found.new else "; the store had it already")]
    lines += [f"its model: {found.model}"] if found.model else []
    lines.append(f"Its report: {PROGRAM} report --run {found.run[-6:]}")
    document = {"run": found.run, "new": found.new, "measured_on": found.results.machine.label,
            "model": str(found.model) if found.model else None}  # fmt: skip
    return Answer("\n".join(map(one_line, lines)), NOTHING | {"imported": document})


def _compared(options: argparse.Namespace) -> Answer:
    from workbench.display.across_table import compare_runs

    found = compare_runs(*options.compare, store=options.store or None)
    text = [repr(found)]
    if found.experiment:
        changed = found.experiment.changes() | ({"store": options.store} if options.store else {})
        text.append(f"All of them in one run: {command_line('report', changed)}")
    return Answer("\n".join(text), NOTHING | {"compared": records(found.frame())})
