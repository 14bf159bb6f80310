"""The command ``grid``: models and groups of settings, each a report of its own, with a page that links them."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from workbench.cli import where
from workbench.cli.answer import Answer, Exit
from workbench.errors.printable import one_line
from workbench.report.progress import ProgressBar
from workbench.settings.cluster import ClusterSettings
from workbench.settings.options import add_run_settings, path
from workbench.settings.time_limit import minutes_of

LOG = logging.getLogger(__name__)
HELP = "make a report for each of several models with each of several groups of settings, and a page that links them"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=path, metavar="FILE", help="a YAML file with models and groups of settings")
    help_text = "the folder for the reports and index.html"
    parser.add_argument("--output", type=path, default=Path("reports/grid"), metavar="FOLDER", help=help_text)
    add_run_settings(parser, "store", "remeasure", "minutes", *where.NAMES)


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """A line for each report; status 1 where one failed. Reports that were finished before are not made again."""
    from workbench.report.grid import DONE, FAILED, Grid
    from workbench.report.grid_file import read_grid

    there = ClusterSettings(**{name: getattr(options, name) for name in where.NAMES})
    cells = read_grid(options.file)
    grid = Grid(cells, options.output, options.store, options.remeasure, there, minutes_of(options.minutes))
    grid.check()
    states = grid.make(bar, LOG.info)
    lines = [
        f"{state.model}, {state.group}: {state.state}{' before' * state.reused}"
        + "".join(f"\n  {text}" for text in (*state.headline, *filter(None, [state.error])))
        for state in states
    ]
    lines.append(f"index: {grid.index}")
    failed = sum(state.state == FAILED for state in states)
    error = f"{failed} of {len(states)} reports failed; the page says why." if failed else ""
    document = {
        "grid": str(options.file),
        "index": str(grid.index),
        "done": sum(state.state == DONE for state in states),
        "reports": [{**asdict(state), "headline": list(state.headline)} for state in states],
    }
    text = "\n".join(one_line(line) for part in lines for line in part.split("\n"))
    return Answer(text, document, Exit.FAILED if failed else Exit.OK, error)
