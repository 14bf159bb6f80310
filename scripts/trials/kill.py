"""Runs that are ended at random points: nothing is corrupt, made twice or left behind, and the same command goes on and ends well.

A case is one model: a run is started and ended eight times on the same store, then left alone. Some are the command ``report``, with a
kernel, and the others ``workbench.run`` in a program, which takes less time.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import recording
import stores
import trial_model
from recording import One, Outcome, Trial
from reports import KERNEL, WORKER, Report, files_below, program

KILLS, REPORTS = 8, 0.3
TWO = {"precisions": "fp32,int8", "calibration_samples": 16, "budget": "none"}
LIMIT_S, ORPHANS_S = 300, 10
LATEST_S = {"report": 14.0, "run": 6.0}
"""A kill comes at a time between 0 and this after the start, while the run is not at its end."""
TARGETS = {
    "parent KILL": 5, "parent TERM": 3, "parent INT": 3, "worker KILL": 4, "tree KILL": 5, "group INT": 3, "parent HUP": 1,
}  # fmt: skip
OF_KERNELS = {"kernel KILL": 6, "kernel TERM": 4}
"""How often each is drawn."""


def _aim(report: Report, target: str) -> str:
    """Send the signal; what it was sent to, or "" where there is no such process yet."""
    who, _, name = target.partition(" ")
    number = signal.Signals[f"SIG{name}"]
    if who == "group":
        os.killpg(report.process.pid, number)
    elif who == "tree":
        report.signal_all(number)
    elif who == "parent":
        report.process.send_signal(number)
    else:
        found = report.of_kind(WORKER if who == "worker" else KERNEL)
        if not found:
            return ""
        found[-1].send_signal(number)
    return target


def _killed(report: Report, target: str, moment: float) -> tuple[str, int | None]:
    """End the run at this moment (s after its start); which target it was, and the status."""
    began = time.monotonic()
    while time.monotonic() - began < moment and report.process.poll() is None:
        time.sleep(0.02)
    hit = ""
    while report.process.poll() is None and not hit and time.monotonic() - began < LIMIT_S:
        with contextlib.suppress(ProcessLookupError):
            hit = _aim(report, target)
        time.sleep(0.02)
    return hit or "had ended", report.wait(LIMIT_S)


class Chain:
    """Runs of one model on one store, started and ended one after another; ``faults`` is what went wrong."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.store, self.temporary = place, place / "store", place / "tmp"
        self.temporary.mkdir()
        self.model = trial_model.write_model(place / "m.onnx", seed=seed)
        self.data = trial_model.write_data(place / "d.npz", seed=seed)
        self.finished: dict[str, int] = {}
        self.targets: list[str] = []
        self.faults: list[str] = []

    def start(self, how: str) -> Report:
        asked = trial_model.SETTINGS | TWO | {"model": str(self.model), "data": str(self.data)}
        command = program(asked, self.store) if how == "run" else ()
        env = {"TMPDIR": str(self.temporary)}
        return Report(self.place, self.model, self.data, self.store, env=env, command=command, **TWO)

    def kill(self, how: str, draw: random.Random) -> None:
        """Start a run and end it."""
        report = self.start(how)
        targets = TARGETS | (OF_KERNELS if how == "report" else {})
        target = draw.choices([*targets], [*targets.values()])[0]
        hit, status = _killed(report, target, draw.uniform(0, LATEST_S[how]))
        self.targets.append(f"{how} {hit}")
        reported = [f"still running after {LIMIT_S} s"] if status is None else []
        reported += [f"orphan: {each}" for each in report.orphans(ORPHANS_S)]
        reported += ["traceback"] if "Traceback" in report.text and "INT" not in hit else []
        self.note(f"{how} {hit}", reported)

    def end(self) -> None:
        """The same run, which nothing ends."""
        last = self.start("run")
        status = last.wait(LIMIT_S)
        reported = [f"ended with {status}: {last.text[-300:]}"] if status != 0 else []
        reported += wrong_results(self.store)
        reported += [f"left in the temporary folder: {name}" for name in files_below(self.temporary)]
        reported += [f"left in the store: {name}" for name in stores.unfinished(self.store)]
        self.note("the last run", reported)

    def note(self, who: str, reported: list[str]) -> None:
        now = stores.made(self.store)
        reported += [f"corrupt: {each}" for each in stores.corrupt(self.store)]
        reported += [f"made again: {name}" for name, when in self.finished.items() if now.get(name, 0) != when]
        self.finished = {name: when for name, when in now.items() if name not in stores.alone(self.store)}
        self.faults += [f"{who}: {each}" for each in reported]


@contextlib.contextmanager
def session(kills: int = KILLS, reports: float = REPORTS) -> Iterator[One]:
    """``reports``: the share of the command ``report`` among the runs."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        chain = Chain(place, number)
        for _ in range(kills):
            chain.kill("report" if draw.random() < reports else "run", draw)
        chain.end()
        counted = {target: float(chain.targets.count(target)) for target in dict.fromkeys(chain.targets)}
        return Outcome(f"{kills} kills in a row", not chain.faults, "; ".join(chain.faults), counted)

    yield one


def wrong_results(store: Path, rows: int = 2) -> list[str]:
    """What is wrong with the newest results in the history: ``rows`` precisions, all done, that of FP32 with accuracy 1.0.

    They may be of several runs: a row that an ended run had finished is listed with that run.
    """
    import workbench

    found = workbench.history(store)
    if found.empty:
        return ["there are no results"]
    newest = found.drop_duplicates("precision").set_index("precision")
    reported = [f"{len(newest)} rows"] if len(newest) != rows else []
    reported += [f"{name} is {row['status']}" for name, row in newest.iterrows() if row["status"] != "done"]
    return reported + ([] if newest["accuracy"].get("fp32") == 1.0 else [f"accuracy {newest['accuracy'].to_dict()}"])


TRIAL = Trial(
    "kill", session, 25, "A run that is ended at any point leaves nothing false, nothing twice and nothing behind."
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
