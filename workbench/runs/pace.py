"""How long measuring took before: seconds for each row, from earlier runs with the same plan on the same machine."""

from __future__ import annotations

import statistics
import time
from typing import Any

from workbench.errors import WorkbenchError
from workbench.records import Results, TimingPlan, to_json
from workbench.runs.run_rows import RunRows
from workbench.store import Store
from workbench.system.machine import this_machine

KIND = "results"
READ = 10
"""Number of runs that are read, the newest ones: each has a file with all its rows."""


def noted(results: Results) -> dict[str, Any]:
    """What a run keeps about its pace: how many rows it measured, and in how many seconds, waiting included.

    Nothing where rows were measured under load too, which is part of the same seconds.
    """
    if any(row.load for row in results.rows):
        return {}
    return {"measured": results.tally.measured, "measure_s": results.tally.measure_s}


def seconds_per_row(store: Store, plan: TimingPlan) -> float | None:
    """Median seconds that measuring one row took, over the last runs; ``None`` where none had this plan on this machine."""
    folder = store.root / KIND
    names = sorted((path.name for path in folder.glob("[0-9]*")), reverse=True)[:READ] if folder.is_dir() else []
    alike = {"plan": to_json(plan), "machine": to_json(this_machine())}
    found = []
    for name in names:
        try:
            about = (store.facts(KIND, name) or {}).get("about", {})
        except WorkbenchError:  # an entry that cannot be read says nothing
            continue
        if (
            about.get("measured")
            and not about.get("imported")
            and all(about.get(what) == value for what, value in alike.items())
        ):
            found.append(about["measure_s"] / about["measured"])
    return statistics.median(found) if found else None


class MeasuringProgress:
    """Reports how far measuring is: the rounds of this launch, and the time that is left by what earlier runs took for a row.

    ``rows`` is the number of rows to measure, ``opening_s`` the seconds that starting their engines takes. Where no run has a time, and
    after that time has passed, the longest time that the plan allows is reported, by the rounds so far.
    """

    def __init__(self, run_rows: RunRows, plan: TimingPlan, store: Store, rows: int, opening_s: float = 0.0) -> None:
        self._run_rows, self._plan, self._opening_s = run_rows, plan, opening_s
        per_row_s = seconds_per_row(store, plan)
        self._expected_s = None if per_row_s is None else per_row_s * rows
        self._began = time.monotonic()
        self._before = 0  # rounds of this launch, at batch sizes that are done
        self._ended = self._open_rounds = 0  # rounds of earlier launches; of this one and all that may follow
        self._deadline = run_rows.stop.deadline
        self._number = self._batches = self._done = 0
        self._clock_began = self._deadline.clock()

    def launch(self, number: int, batches: int) -> None:
        """A launch begins, numbered from 0, with so many batch sizes to measure."""
        plan = self._plan
        rounds = plan.relaunch_rounds if number else plan.rounds
        several = f", launch {number + 1} of at most {plan.launches}" if plan.launches > 1 else ""
        self._ended, self._before, self._done = self._ended + self._before, 0, 0
        self._number, self._batches, self._clock_began = number, batches, self._deadline.clock()
        later = max(0, plan.launches - 1 - number)
        self._open_rounds = (rounds + later * plan.relaunch_rounds) * batches
        self._run_rows.phase(f"measure{several}", rounds * batches, "rounds", self.remaining_s)

    def rounds(self, done: int, *, ended: bool = False) -> None:
        """So many rounds at one batch size have ended; ``ended``: all of them."""
        told_s = self.remaining_s
        longest_s = self._longest_s(self._before + done) if told_s is None else None
        left_s = longest_s if told_s is None else told_s
        if left_s is not None and self._deadline.limit_s and not self._deadline.over:
            left_s = min(left_s, self._deadline.left_s)
        self._run_rows.advance(self._before + done, left_s, at_most=longest_s is not None)
        self._before += done if ended else 0
        self._done = self._before

    def last(self, open_rows: int, of: int, opening_s: float = 0.0) -> bool:
        """Whether the next launch would end after the time of the run, so that this one is the last.

        How long that takes follows from this launch so far, and is never less than the plan says.

        Args:
            open_rows: rows of a batch size that would take part in it.
            of: rows of that batch size that took part in this one.
            opening_s: seconds that opening their engines took, where this launch does not include it.
        """
        plan, took_s = self._plan, self._deadline.clock() - self._clock_began
        round_s = took_s / self._done if self._done else 0.0
        rounds = plan.relaunch_rounds if self._number else plan.rounds
        rest_s = round_s * max(0, rounds * self._batches - self._done)
        again_s = round_s * plan.relaunch_rounds * self._batches * open_rows / max(1, of)
        planned_s = plan.launch_s(self._number + 1) * open_rows
        opening_s = 0.0 if self._number else opening_s
        return not self._deadline.allows(rest_s + opening_s + max(again_s, planned_s))

    def _longest_s(self, done: int) -> float | None:
        """Seconds that this launch and all that may follow take: their rounds, by those that have ended, and starting their engines."""
        ended, later = self._ended + done, max(0, self._plan.launches - 1 - self._number)
        rounds_s = max(0.0, time.monotonic() - self._began - self._number * self._opening_s)
        return rounds_s / ended * (self._open_rounds - done) + later * self._opening_s if ended else None

    @property
    def remaining_s(self) -> float | None:
        """Seconds that are left of measuring, over all launches."""
        elapsed_s = time.monotonic() - self._began
        return None if self._expected_s is None or elapsed_s > self._expected_s else self._expected_s - elapsed_s
