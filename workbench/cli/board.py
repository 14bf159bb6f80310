"""The command ``board``: what the participants of a class predicted and measured in the lessons."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from workbench.cli.answer import Answer
from workbench.errors import InputError, writing
from workbench.errors.printable import tell
from workbench.lessons.board import LANGUAGES
from workbench.settings.options import path
from workbench.settings.output_files import check_output, replace_text
from workbench.system.progress import ProgressBar

HELP = "what the participants of a class predicted and measured in the lessons"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--folder",
        type=path,
        default=None,
        metavar="DIR",
        help="the shared folder (default: the variable WORKBENCH_BOARD)",
    )
    add("--language", choices=LANGUAGES, default="en", help="of the headings")
    add("--hide-answers", action="store_true", help="show who has answered, and not what was predicted and measured")
    add("--watch", type=float, default=0.0, metavar="S", help="show it again every S seconds until Ctrl-C")
    add(
        "--html",
        type=path,
        default=None,
        metavar="FILE",
        help="write a page for a projector, which reloads itself with --watch",
    )


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The board as it is now, or as it was when Ctrl-C ended watching."""
    from workbench.lessons import board, board_page

    place = options.folder or os.environ.get(board.FOLDER, "")
    if not place:
        raise InputError(f"No shared folder was named. Use --folder, or set the variable {board.FOLDER} for everyone.")
    if not 0 <= options.watch <= 3600:
        raise InputError(f"'--watch' must be from 0 to 3600 seconds; found {options.watch:g}.")
    if options.html:
        check_output(
            options.html,
            option="--html",
            endings=(".html", ".htm"),
            written_here=lambda start: board_page.FIRST.encode() in start,
        )
    folder = Path(place)
    board.prepare(folder)
    while True:
        shown = board_page.board_of(folder, hidden=options.hide_answers)
        text = board_page.as_text(shown, options.language)
        if options.html:
            with writing(options.html, "option --html"):
                replace_text(options.html, board_page.as_page(shown, options.language, options.watch))
        if not options.watch:
            break
        if not options.html:
            bar.close()
            tell(f"\n{shown.at}\n{text}")
        try:
            time.sleep(options.watch)
        except KeyboardInterrupt:  # also SIGTERM, see ends_by_signal
            break
    return Answer(text, _document(shown, folder, options.html))


def _document(shown: Any, folder: Path, html: Path | None) -> dict[str, Any]:
    checks = [
        {
            "question": question,
            "participant": line.name,
            "predicted": None if shown.hidden else line.checked.predicted,
            "measured": None if shown.hidden else line.checked.measured,
            "outcome": str(line.checked.outcome),
            "changed": line.changed,
        }
        for question, found in shown.asked.items()
        for line in found
    ]
    queue = [
        {
            "participant": place.holder.name,
            "what": place.holder.what,
            "alone": place.alone,
            "left_s": place.holder.left_s,
        }
        for place in shown.queue
    ]
    return {"folder": str(folder), "checks": checks, "queue": queue, "html": str(html) if html else None}
