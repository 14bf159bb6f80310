"""Shared by the benchmarks: prints a table of figures, and keeps it in RESULTS.md where ``--record`` asks for that."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from workbench.system.machine import this_machine, version_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
FEWEST = 6
HEADING = """# Results of the benchmarks

Every table was written by its script with `--record`. What was added by hand says so.
"""


class Section(NamedTuple):
    """What one benchmark found."""

    title: str
    script: str
    method: str  # one sentence
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    libraries: Sequence[str]  # distributions whose versions matter here
    notes: Sequence[str] = ()
    measured: Sequence[str] = ()  # date, machine and versions, where the rows come from another run than this one

    def text(self) -> str:
        """The section as Markdown."""
        found = [(name, version_of(name)) for name in self.libraries]
        versions = [f"Python {platform.python_version()}", *(f"{name} {version}" for name, version in found if version)]
        command = f"`python benchmarks/{self.script}`"
        here = (f"{datetime.now(UTC):%Y-%m-%d}", this_machine().label, ", ".join(versions))
        facts = (*(self.measured or here), command)
        lines = [f"## {self.title}", "", " · ".join(facts), "", self.method, "", *_table(self.columns, self.rows)]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with ``--record``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--record", action="store_true", help=f"write the figures into {RESULTS.name}")
    return made


def rounds(text: str) -> int:
    """A number of rounds on a command line: at least :data:`FEWEST`, because fewer have no interval."""
    number = int(text)
    if number < FEWEST:
        raise argparse.ArgumentTypeError(f"at least {FEWEST} rounds are needed for an interval; found {number}")
    return number


def tell(section: Section, *, record: bool) -> None:
    """Print a section; with ``record`` also put it into RESULTS.md, in the place of the one with its title."""
    print(section.text())
    if record:
        before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEADING
        RESULTS.write_text(replaced(before, section.title, section.text()), encoding="utf-8")
        print(f"recorded in {RESULTS}")


def replaced(document: str, title: str, text: str) -> str:
    """``document`` with ``text`` in the place of its section ``title``, or at its end."""
    head, *sections = re.split(r"^(?=## )", document, flags=re.MULTILINE)
    kept = {section.splitlines()[0].removeprefix("## "): section for section in sections}
    kept[title] = text
    return "\n".join(part.strip("\n") + "\n" for part in (head, *kept.values()))


def verdict(value: float, low: float, high: float) -> str:
    """The plain answer of a benchmark that gives one number, without an interval."""
    return f"within target: {'yes' if low <= value <= high else 'no'}"


def interval_verdict(interval: tuple[float, float, float], low: float, high: float) -> str:
    """The plain answer where there is an interval, as (middle, low end, high end): yes or no only where all of it says so."""
    inside = low <= interval[1] and interval[2] <= high
    outside = interval[2] < low or interval[1] > high
    return f"within target: {'yes' if inside else 'no' if outside else 'cannot tell'}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    every = [tuple(columns), *map(tuple, rows)]
    widths = [max(len(row[place]) for row in every) for place in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in every
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
