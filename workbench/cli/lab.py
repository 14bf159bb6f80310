"""The command ``lab``: the panel's notebook in JupyterLab."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.cli import serving
from workbench.cli.answer import Answer
from workbench.settings.options import path
from workbench.system.progress import ProgressBar
from workbench.system.resources import PANEL, copy_notebook

QUIET = ("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
"""JupyterLab neither asks about news nor looks for a newer version of itself."""
HELP = "open the panel's notebook in JupyterLab"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "notebook",
        nargs="?",
        type=path,
        default=Path(PANEL),
        metavar="NOTEBOOK",
        help=f"the notebook to open; a copy of the panel's is written where there is none (default: {PANEL})",
    )
    serving.add_options(parser, "JupyterLab")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The notebook that was open, when the server has ended."""
    page: Path = options.notebook
    if not page.exists():
        copy_notebook(PANEL, page)
    return serving.serve("jupyterlab", options, QUIET, page, bar)
