"""The wall clock is set back while two runs on one store are in progress: nothing is lost, kept falsely, or removed.

The clock of the machine stays as it is: a library that the processes load moves what they see of the wall clock (``clock_shift.c``, which
takes a C compiler).
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import recording
import stores
import trial_model
from kill import wrong_results
from recording import HERE, One, Outcome, Trial
from reports import Report, arguments, files_below, program
from sleep import timings

LIMIT_S, LATEST_S = 300.0, 8.0
HOUR_S = 3600
STEPS = (-37, -HOUR_S, -400 * 24 * HOUR_S)
"""Seconds by which the clock is set back."""
BY_WALL_CLOCK = "import time\ntime.monotonic = time.perf_counter = time.time\ntime.monotonic_ns = time.perf_counter_ns = time.time_ns\n"
"""A module ``sitecustomize`` that makes every duration one of the wall clock: what a run is to do without."""


def can_shift() -> bool:
    return sys.platform == "linux" and shutil.which("cc") is not None


class Clock:
    """The wall clock of the processes that are started with :attr:`env`."""

    def __init__(self, place: Path, *, durations: bool = False) -> None:
        """``durations``: those that Python measures follow the wall clock as well."""
        place.mkdir()
        self._file, library = place / "shift", place / "clock_shift.so"
        self.set(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "clock_shift.c"], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}
        if durations:
            (place / "sitecustomize.py").write_text(BY_WALL_CLOCK)
            self.env["PYTHONPATH"] = str(place)

    def set(self, seconds: int) -> None:
        """Set the clock to the true time and so many seconds."""
        content = struct.pack("=q", seconds)
        if self._file.exists():  # in place: it is mapped
            with self._file.open("r+b") as file:
                file.write(content)
        else:
            self._file.write_bytes(content)


@contextlib.contextmanager
def session(steps: Sequence[int] = STEPS, *, durations: bool = False, limit_s: float = LIMIT_S) -> Iterator[One]:
    """``durations`` as of :class:`Clock`."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        clock, store, temporary = Clock(place / "clock", durations=durations), place / "store", place / "tmp"
        temporary.mkdir()
        model = trial_model.write_model(place / "m.onnx", seed=number)
        data = trial_model.write_data(place / "d.npz", seed=number)
        asked = trial_model.SETTINGS | {"model": str(model), "data": str(data), "measure_s": 2.0, "max_measure_s": 2.0}
        asked |= {"calibration_samples": 16, "budget": "none"}
        env = clock.env | {"TMPDIR": str(temporary)}

        def start(precision: str = "fp32") -> Report:
            words = program(asked | {"precisions": precision}, store)
            return Report(place, model, data, store, env=env, command=words, name=precision)

        how = ("while it measures", "at a random time", "after a killed run")[number % 3]
        if how == "after a killed run":
            killed = start()
            time.sleep(draw.uniform(0, LATEST_S))
            killed.signal_all(9)
            killed.wait(10)
        else:
            runs = [start(), start("int8" if draw.random() < 0.5 else "fp32")]
            _until(
                runs,
                "round 1" if how == "while it measures" else "",
                draw.uniform(0, 2 if "measures" in how else LATEST_S),
            )
        clock.set(draw.choice(steps))
        if how == "after a killed run":
            runs = [start(), start()]
        elif draw.random() < 0.3:  # once more
            time.sleep(draw.uniform(0, 3))
            clock.set(2 * min(steps))
        faults = [reported for run in runs for reported in _faults(run, run.wait(limit_s))]
        faults += [] if faults else _kept(store, asked, temporary)
        faults += [] if faults else _again(start, store, clock, env)
        return Outcome(f"set back {how}", not faults, "; ".join(faults))

    yield one


def _until(runs: Sequence[Report], text: str, more_s: float) -> None:
    """Wait until one of the runs has printed ``text``, and some seconds more: the others may use what that one makes."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_S and any(run.process.poll() is None for run in runs):
        if any(text in run.text for run in runs):
            break
        time.sleep(0.05)
    time.sleep(more_s)


def _faults(run: Report, status: int | None) -> list[str]:
    """What is wrong with how a run ended. No process was stopped, so that none may seem not to answer."""
    reported = [f"ended with {status}: {run.text[-300:]}"] if status else []
    reported += ["it did not end"] if status is None else []
    reported += ["traceback"] if "Traceback" in run.text else []
    reported += ["a process that ran seemed not to answer"] if "not answered" in run.text else []
    return reported + [f"orphan {orphan}" for orphan in run.orphans(10)]


def _kept(store: Path, asked: dict[str, Any], temporary: Path) -> list[str]:
    """What is wrong with what two runs have left."""
    found = [f"corrupt: {reported}" for reported in stores.corrupt(store)]
    found += [f"left in the temporary folder: {name}" for name in files_below(temporary)]
    found += [f"left in the store: {name}" for name in stores.unfinished(store)]
    found += _timings(store, asked) + _journals(store) + _history(store)
    return found + [reported for reported in wrong_results(store, rows=1) if "rows" not in reported]


def _timings(store: Path, asked: dict[str, Any]) -> list[str]:
    """Durations that a clock which was set back has spoiled."""
    block_s, kept = asked["measure_s"] / asked["rounds"], timings(asked, store)
    found = [] if kept else ["there is no timing"]
    for timing in kept:
        found += [] if timing.counted else ["no block counts"]
        for block in timing.blocks:
            shortest = min(block.samples_ns)
            if not block.wall_s >= 0.9 * block_s or shortest <= 0:
                found.append(f"a block of {block.wall_s:g} s whose shortest call took {shortest} ns")
    return found


def _journals(store: Path) -> list[str]:
    """Journals whose lines go back in time."""
    found = []
    for journal in store.glob("runs/*.jsonl"):
        seconds = [json.loads(line)["s"] for line in journal.read_text(encoding="utf-8").splitlines()]
        found += [] if seconds == sorted(seconds) and seconds[0] >= 0 else [f"{journal.name} goes back in time"]
    return found


def _history(store: Path) -> list[str]:
    """Whether the history holds each run once, in the order of the times that it shows, and stays so when it is made again."""
    import workbench
    from workbench.runs.index import rebuild
    from workbench.store import Store

    shown = workbench.history(store)
    kept = {folder.name for folder in (store / "results").iterdir()}
    found = [] if set(shown["run"]) <= kept else ["the history names a run that was not kept"]
    found += [] if shown["time"].is_monotonic_decreasing else ["the history is not in the order of its times"]
    found += [] if shown[["run", "variant", "batch"]].duplicated().sum() == 0 else ["a result is listed twice"]
    rebuild(Store(store))
    same = workbench.history(store)[["run", "variant", "time"]].equals(shown[["run", "variant", "time"]])
    return found if same else [*found, "the history differs when it is made again"]


def _again(start: Any, store: Path, clock: Clock, env: dict[str, str]) -> list[str]:
    """With the clock that was set back, and with the right one: nothing that a run needs is removed, and nothing is made again."""
    found, before = [], stores.made(store)
    for shift in (None, 0):
        if shift is not None:
            clock.set(shift)
        words = ["--prune", "--older-than", "1h", "--unreferenced", "--damaged", *arguments(store=store)]
        prune = Report(
            store.parent, store, store, store, env=env, command=[sys.executable, "-m", "workbench", "store", *words]
        )
        found += [f"pruning: {reported}" for reported in _faults(prune, prune.wait(LIMIT_S))]
        last = start()
        found += [f"then: {reported}" for reported in _faults(last, last.wait(LIMIT_S))]
        now = stores.made(store)
        needed = [name for name in before if not name.startswith("results/")]
        found += [f"removed or made again: {name}" for name in needed if now.get(name) != before[name]]
    return found


TRIAL = Trial("clock", session, 12, "A clock that is set back during a run does no harm.")

if __name__ == "__main__":
    recording.exit_with(TRIAL)
