"""The class board as a table, as HTML and as a page for a projector, in English and in Chinese."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from workbench.display.html import tag
from workbench.errors.printable import one_line
from workbench.lessons.board import LANGUAGES, BoardLine, PredictionOutcome, lines, read
from workbench.locks.places import QueuePlace, wait_text
from workbench.system import measuring_lock

FIRST = "<!-- inference workbench: class board -->"
"""The first line of a page, by which its file is recognized."""
WORDS = {
    "title": ("Class board", "课堂公告板"),
    "participant": ("participant", "参与者"),
    "predicted": ("predicted", "预测"),
    "measured": ("measured", "测得"),
    "outcome": ("outcome", "结果"),
    "changed": ("changed afterwards", "之后改过"),
    "nothing": ("No prediction has been checked yet.", "还没有人检查过预测。"),
    "queue": ("Measuring queue", "测量队列"),
    "free": ("No process measures or waits.", "没有人在测量或等待。"),
    "left": ("left", "剩余"),
    "as of": ("as of", "更新于"),
    PredictionOutcome.HELD: ("held", "成立"),
    PredictionOutcome.FAILED: ("failed", "不成立"),
    PredictionOutcome.OPEN: ("neither", "未能判定"),
    PredictionOutcome.NONE: ("no prediction", "没有预测"),
}
STYLE = (
    "body{font:20px system-ui,sans-serif;margin:2em;color:#111;background:#fff}table{border-collapse:collapse;margin-bottom:1.5em}"
    "td,th{padding:.2em 1em;text-align:left;border-bottom:1px solid #ccc}h2{font-size:1.1em;margin:.5em 0}"
    "[data-outcome=held]{color:#00603f}[data-outcome=failed]{color:#a33b00}"
)


class Board(NamedTuple):
    """What the board shows: the participants' lines by question, the queue of this machine, and the local time (HH:MM:SS)."""

    asked: Mapping[str, Sequence[BoardLine]]
    queue: Sequence[QueuePlace]
    at: str
    hidden: bool = False  # what was predicted and measured


def board_of(folder: Path, *, hidden: bool = False) -> Board:
    """The board as it is now; ``hidden`` leaves out predictions and measured values, while others still predict."""
    return Board(lines(read(folder)), measuring_lock.queue(), datetime.now().astimezone().strftime("%H:%M:%S"), hidden)


def cells(line: BoardLine, board: Board, language: str) -> tuple[str, ...]:
    """The cells of a line: the participant, the prediction, what was measured, and the outcome."""
    checked = line.checked
    changed = f" ({_word('changed', language)})" if line.changed else ""
    predicted, measured = ("•", "•") if board.hidden else (checked.predicted or "–", checked.measured)
    return line.name, predicted, measured, _word(checked.outcome, language) + changed


def as_text(board: Board, language: str = "en") -> str:
    """The board as text for a terminal."""
    heads = [_word(name, language) for name in ("participant", "predicted", "measured", "outcome")]
    parts = []
    for question, found in board.asked.items():
        rows = [heads, *(cells(line, board, language) for line in found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        parts.append("\n".join([f"{question} ({summary(found, language)})", *table]))
    parts = parts or [_word("nothing", language)]
    return "\n\n".join([*parts, "\n".join([f"{_word('queue', language)}:", *queue_lines(board.queue, language)])])


def as_html(board: Board, language: str = "en") -> Markup:
    """The board as HTML for a notebook or a page."""
    heads = [tag("th", _word(name, language)) for name in ("participant", "predicted", "measured", "outcome")]
    parts = []
    for question, found in board.asked.items():
        rows = [
            tag(
                "tr",
                *(tag("td", cell) for cell in cells(line, board, language)),
                data_outcome=str(line.checked.outcome),
            )
            for line in found
        ]
        parts.append(tag("h2", f"{question} ({summary(found, language)})"))
        parts.append(tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows)))
    parts = parts or [tag("p", _word("nothing", language))]
    waiting = tag("ol", *(tag("li", text) for text in queue_lines(board.queue, language)))
    return tag("div", *parts, tag("h2", _word("queue", language)), waiting, class_="wb-board")


def as_page(board: Board, language: str = "en", every_s: float = 0.0) -> str:
    """A page that needs no other file and no script; a browser loads it again every ``every_s`` seconds (0: it does not)."""
    again = [tag("meta", http_equiv="refresh", content=f"{every_s:g}")] if every_s else []
    title = _word("title", language)
    head = tag("head", tag("meta", charset="utf-8"), *again, tag("title", title), tag("style", Markup(STYLE)))  # noqa: S704 - own
    body = tag("body", tag("h1", title), as_html(board, language), tag("p", f"{_word('as of', language)} {board.at}"))
    return f"<!DOCTYPE html>\n{FIRST}\n" + tag("html", head, body, lang=language) + "\n"


def summary(found: Sequence[BoardLine], language: str = "en") -> str:
    """The number of participants by outcome, such as ``3 held, 1 failed``."""
    counts = Counter(line.checked.outcome for line in found)
    return ", ".join(f"{counts[each]} {_word(each, language)}" for each in PredictionOutcome if counts[each])


def queue_lines(queue: Sequence[QueuePlace], language: str = "en") -> list[str]:
    """A line for each place of the measuring queue: the name, the work, since when, and what is left of its expected time."""
    found = []
    for place in queue:
        holder = place.holder
        left = "" if holder.left_s is None else f", {wait_text(holder.left_s, 0)} {_word('left', language)}"
        found.append(one_line(f"{holder.name}: {holder.what}, {holder.since}{left}"))
    return found or [_word("free", language)]


def _word(name: str, language: str) -> str:
    return WORDS[name][LANGUAGES.index(language)]
