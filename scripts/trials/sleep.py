"""A run is stopped for some seconds and continues, as when a machine sleeps: it ends well, and no block of calls holds the pause."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import recording
import trial_model
from kill import wrong_results
from recording import One, Outcome, Trial
from reports import Report, program

if TYPE_CHECKING:
    from workbench.records import Timing

LIMIT_S, LATEST_S = 300.0, 7.0
ASKED_S = 1.0
MOST_TIMES = 3.0
"""A block may take this many times as long as was asked: other programs keep the machine busy."""


@contextlib.contextmanager
def session(pauses: tuple[float, float] = (3.0, 20.0)) -> Iterator[One]:
    """``pauses``: the shortest and the longest, in seconds."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        model = trial_model.write_model(place / "m.onnx", seed=number)
        data, store = trial_model.write_data(place / "d.npz", seed=number), place / "store"
        asked = trial_model.SETTINGS | {
            "model": str(model),
            "data": str(data),
            "measure_s": 2 * ASKED_S,
            "max_measure_s": 2 * ASKED_S,
        }
        report = Report(place, model, data, store, command=program(asked, store))
        measuring = draw.random() < 0.7
        _until(report, "round 1" if measuring else "", draw.uniform(0, 2 * ASKED_S if measuring else LATEST_S))
        pause = draw.uniform(*pauses)
        report.signal_all(signal.SIGSTOP)
        time.sleep(pause)
        report.signal_all(signal.SIGCONT)
        status = report.wait(LIMIT_S)
        faults = [f"ended with {status}: {report.text[-300:]}"] if status else wrong_results(store, rows=1)
        found = timings(asked, store)
        longest = max((block.wall_s for timing in found for block in timing.counted), default=0.0)
        whole = max((block.wall_s for timing in found for block in timing.blocks), default=0.0)
        faults += [] if longest else ["there is no block that counts"]
        if longest > MOST_TIMES * ASKED_S and longest > 0.8 * pause:
            faults.append(f"a block of {longest:.1f} s counts, where {ASKED_S:g} s were asked for")
        figures = {
            "pause_s": round(pause, 1), "longest_block_s": round(longest, 2),
            "pauses_in_a_block": float(whole > MOST_TIMES * ASKED_S and whole > 0.8 * pause),
        }  # fmt: skip
        return Outcome(
            "stopped while it measures" if measuring else "stopped at a random time",
            not faults,
            "; ".join(faults),
            figures,
        )

    yield one


def _until(report: Report, text: str, more_s: float) -> None:
    """Wait until the run has printed ``text``, and some seconds more."""
    began = time.monotonic()
    while text not in report.text and report.process.poll() is None and time.monotonic() - began < LIMIT_S:
        time.sleep(0.05)
    time.sleep(more_s)


def timings(asked: dict[str, object], store: Path) -> list[Timing]:
    """The timings of the rows of a run that has ended, which are all in the store."""
    import workbench

    rows = workbench.run(workbench.Experiment(**asked), store=store).rows
    return [row.timing for row in rows if row.timing]


TRIAL = Trial(
    "sleep", session, 20, "A run that was stopped and continues ends well, and no block that counts holds the pause."
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
