"""Who waits for whom, seen from outside: the lock files of the queue and of a store, and which report each process belongs to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from reports import MARK, Report

LONG_S = 5.0
"""A wait that is seen for this long has to be in the report's output."""
PASSED_OVER_S = 55.0
WAITS = re.compile(r"waiting for .* \(process \d+\): .+ since \d\d:\d\d:\d\d")
ENDED = re.compile(r"the wait for .* ended after (\d+) s")


def holder_of(file: Path, reports: Sequence[Report]) -> Report | None:
    """The report one of whose processes is named in a lock file."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        found = re.search(r"process (\d+)", json.loads(file.read_text(encoding="utf-8"))["who"])
        mark = psutil.Process(int(found[1])).environ().get(MARK) if found else None
        return next((report for report in reports if report.mark == mark), None)
    return None


def queue() -> list[Path]:
    """The places in the queue for the measuring lock, the first one first."""
    return sorted(Path(os.environ["WORKBENCH_LOCKS"]).glob("[0-9]*-*"))


def measures(reports: Sequence[Report]) -> Report | None:
    """The report that holds the measuring lock exclusively."""
    places = queue()
    return holder_of(places[0], reports) if places and "-alone-" in places[0].name else None


def makes(store: Path, reports: Sequence[Report]) -> Report | None:
    """A report that makes an artefact of the store."""
    files = [file for file in sorted((store / "locks").glob("*.lock")) if not file.name.startswith(("use-", "prune"))]
    return next((report for file in files if (report := holder_of(file, reports))), None)


class Watch:
    """The longest wait of each report for the measuring lock, in seconds; call :meth:`look` often."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self.longest = dict.fromkeys(reports, 0.0)
        self._whose: dict[str, Report | None] = {}
        self._since: dict[str, float] = {}

    def look(self) -> None:
        places, now = queue(), time.monotonic()
        for number, place in enumerate(places):
            alone = "-alone-" in place.name
            ahead = any(alone or "-alone-" in other.name for other in places[:number])
            if place.name not in self._whose:
                self._whose[place.name] = holder_of(place, [*self.longest])
            report = self._whose[place.name]
            if report is not None and ahead:
                waited = now - self._since.setdefault(place.name, now)
                self.longest[report] = max(self.longest[report], waited)

    @property
    def waited(self) -> list[Report]:
        """The reports whose wait was long."""
        return [report for report, waited in self.longest.items() if waited >= LONG_S]

    @property
    def said(self) -> list[Report]:
        """Those of :attr:`waited` that said it."""
        return [report for report in self.waited if not self.faults(report)]

    def faults(self, report: Report) -> list[str]:
        """What a report that has ended should have said of its waits and did not."""
        # a stopped process is passed over after a minute, and its place in the queue stays there
        waited = min(self.longest[report], PASSED_OVER_S)
        if waited < LONG_S:
            return []
        if not WAITS.search(report.text):
            return [f"it waited {waited:.0f} s and did not say for whom and since when"]
        said = max((float(each) for each in ENDED.findall(report.text)), default=0.0)
        return [] if said >= waited - LONG_S else [f"it waited {waited:.0f} s and said {said:.0f} s"]


def faults_of_twin(twin: Report, stopped: Sequence[int]) -> list[str]:
    """What a report should have said that needs the artefact of another one, whose processes are ``stopped``, and did not."""
    named = (f"(process {each}): " in line for line in twin.text.splitlines() for each in stopped if WAITS.search(line))
    return [] if any(named) else ["it needs what the stopped one makes, and did not say that it waits for that one"]
