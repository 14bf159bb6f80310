"""The command ``notebook``: a copy of a notebook of this package, to be changed."""

from __future__ import annotations

import argparse

from workbench.cli.answer import Answer
from workbench.errors.printable import one_line
from workbench.settings.options import path
from workbench.system.progress import ProgressBar
from workbench.system.resources import PANEL, copy_notebook, notebook, notebooks

HELP = "write a copy of the panel's notebook, or of a lesson"


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("copy", type=path, metavar="COPY.ipynb", help="the file to write; it must not exist")
    parser.add_argument(
        "--page",
        choices=notebooks(),
        default=PANEL,
        metavar="PAGE",
        help=f"one of {', '.join(notebooks())} (default: {PANEL})",
    )
    parser.add_argument(
        "--assignment", action="store_true", help="as the source of an assignment for nbgrader (some lessons only)"
    )


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:  # noqa: ARG001 - as every command
    """The file that was written, and the notebook that it is a copy of."""
    if options.assignment:
        return _assignment(options)
    copy_notebook(options.page, options.copy)
    text = f"{one_line(options.copy)} is a copy of {options.page}. Open it: workbench lab {one_line(options.copy)}"
    return Answer(text, {"notebook": str(options.copy), "page": options.page})


def _assignment(options: argparse.Namespace) -> Answer:
    import nbformat

    from workbench.lessons.assignment import assignment

    made = assignment(notebook(options.page))
    copy_notebook(options.page, options.copy)  # which refuses a file that exists
    nbformat.write(made, options.copy)  # type: ignore[no-untyped-call]
    text = f"{one_line(options.copy)} is {options.page} with the metadata of nbgrader. Write your answers into its predictions."
    return Answer(text, {"notebook": str(options.copy), "page": options.page})
