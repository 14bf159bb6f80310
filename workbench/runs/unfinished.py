"""Runs that ended early: what their journals in the store say, where a run left no results or cancelled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import InputError
from workbench.errors.printable import one_line
from workbench.locks import holders
from workbench.records import FINAL, Status
from workbench.runs.whole import KIND
from workbench.settings.experiment import Experiment
from workbench.settings.options import command_line
from workbench.store import Store

MOST = 40
"""Journals that are looked through, the newest."""
ENDED = {str(status) for status in FINAL - {Status.CANCELLED, Status.BUILT}}


class UnfinishedRun(NamedTuple):
    """A run without all of its rows: its name, its settings, how many rows have ended of how many, its last step and when that was (seconds
    since 1970); ``results``: what had ended can be opened; ``state``: as the history shows it.
    """

    name: str
    parameters: dict[str, Any]
    ended: int
    rows: int
    step: str
    at: float
    results: bool
    state: str

    @property
    def again(self) -> str:
        """The command that goes on with it."""
        try:
            return command_line("run", Experiment(**self.parameters).changes())
        except (InputError, TypeError):  # of another version
            return command_line("run", {})

    @property
    def summary(self) -> str:
        """What there is of it, and how to go on, as sentences."""
        kept = "what had ended can be opened" if self.results else "it left no results to open"
        return one_line(
            f"{self.state}, {self.ended} of {self.rows} rows, last step: {self.step}. Engines, times and scores that it made are in the store, and {kept}. "
            f"Its settings, run again, go on from there: {self.again}"
        )


def unfinished(store: Store) -> tuple[UnfinishedRun, ...]:
    """The runs of the newest journals that have not done all of their rows, the newest first, but for those that were done later."""
    found, done = [], []
    for path in sorted((store.root / "runs").glob("*.jsonl"), reverse=True)[:MOST]:
        lines = _lines(path)
        parameters = lines[0].get("parameters") if lines else None
        if not isinstance(parameters, dict):  # of a search, of a part of a run, or of an earlier version
            continue
        if lines[-1].get("ended") == "done":
            done.append(parameters)
        elif parameters not in done:
            found.append(_read(path, lines, store))
    return tuple(found)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a journal; none where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    except (OSError, ValueError):
        return []


def _read(path: Path, lines: list[dict[str, Any]], store: Store) -> UnfinishedRun:
    how = lines[-1].get("ended", "")
    rows = {line["row"]: line["status"] for line in lines if "row" in line}
    ended = sum(status in ENDED for status in rows.values())
    state = "cancelled" if how else "in progress, or ended from outside" if _used(store) else "ended from outside"
    last = next((line for line in reversed(lines) if "ended" not in line), lines[-1])
    there = (store.root / KIND / path.stem).is_dir()
    return UnfinishedRun(path.stem, lines[0]["parameters"], ended, len(rows), last["text"], last["at"], there, state)


def _used(store: Store) -> bool:
    """Whether a process uses the store now."""
    return any(holders.holder_of(path) for path in (store.root / "locks").glob("use-*.lock"))
