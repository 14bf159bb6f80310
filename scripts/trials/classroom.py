"""Many participants measure on one machine at once: their timings never overlap, all are served, and all see their wait.

Each participant is a process with a name and a store of its own. It writes when each group of rows began and ended to be measured, by
the clock that all processes of the machine share, and each text about a wait.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import recording
import trial_model
from recording import One, Outcome, Trial

PARTICIPANTS = 30
LIMIT_S = 3000.0
BATCHES = "1,8"
CODE = """
import json, sys, time
import workbench
from workbench.records import Status

place, asked = sys.argv[1], json.loads(sys.argv[2])
waits, began, ended = [], {}, {}
def see(event):
    if event.wait:
        waits.append(event.text)
    row = event.result
    if row and row.status == Status.MEASURING:
        began.setdefault(row.batch, time.monotonic())
    if row and row.status == Status.DONE:
        ended[row.batch] = time.monotonic()
results = workbench.run(workbench.Experiment(**asked), store=place + "/store", on_event=see, only="time")
timed = {row.batch: sum(block.wall_s for block in row.timing.blocks) for row in results.measured}
measured = [{"batch": batch, "began_s": began[batch], "ended_s": ended[batch], "timed_s": timed[batch]} for batch in timed]
json.dump({"measured": measured, "waits": waits}, open(place + "/record.json", "w"))
"""


@contextlib.contextmanager
def session(count: int = PARTICIPANTS, batches: str = BATCHES) -> Iterator[One]:
    """``count`` participants, each of whom measures one variant at these batch sizes."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        model = trial_model.write_model(place / "small.onnx", seed=number)
        data = trial_model.write_data(place / "small.npz", seed=number)
        asked = trial_model.SETTINGS | {"model": str(model), "data": str(data), "batches": batches}
        began, started = time.monotonic(), []
        for each in range(count):
            own = place / f"participant-{each}"
            own.mkdir()
            words = [sys.executable, "-c", CODE, str(own), json.dumps(asked | {"seed": draw.randrange(1000)})]
            with (own / "output").open("wb") as output:
                env = os.environ | {"WORKBENCH_NAME": f"participant {each}", "WORKBENCH_KEY": str(own / "key")}
                started.append(subprocess.Popen(words, stdout=output, stderr=output, env=env))
        faults = _ended(started, place, began)
        took_s = time.monotonic() - began
        records = [_record(place / f"participant-{each}") for each in range(count)]
        faults += faults_of(records, len(batches.split(",")))
        figures = {
            "participants": count,
            "timed_groups": sum(len(record["measured"]) for record in records),
            "saw_a_wait": sum(any(_is_wait(text) for text in record["waits"]) for record in records),
            "saw_a_time": sum(any("expected wait a" in text for text in record["waits"]) for record in records),
            "measuring_s": round(sum(each["ended_s"] - each["began_s"] for each in _spans(records)), 1),
            "took_s": round(took_s, 1),
        }
        return Outcome(f"{count} participants at once", not faults, "; ".join(faults), figures)

    yield one


def _ended(started: list[subprocess.Popen[bytes]], place: Path, began: float) -> list[str]:
    """Wait for all, and say which of them did not end well."""
    faults = []
    for each, process in enumerate(started):
        try:
            status = process.wait(max(1.0, LIMIT_S - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status:
            text = (place / f"participant-{each}" / "output").read_text(errors="replace")
            faults.append(f"participant {each} ended with {status}: {text[-200:]}")
    return faults


def _record(place: Path) -> dict[str, Any]:
    path = place / "record.json"
    return json.loads(path.read_text()) if path.is_file() else {"measured": [], "waits": []}


def _spans(records: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What was measured, the first one first."""
    return sorted((each for record in records for each in record["measured"]), key=lambda each: each["began_s"])


def _is_wait(text: str) -> bool:
    return "before you" in text and "expected wait" in text


def faults_of(records: list[dict[str, Any]], groups: int) -> list[str]:
    found = [
        f"participant {each} was not served" for each, record in enumerate(records) if len(record["measured"]) != groups
    ]
    spans = _spans(records)
    for first, second in itertools.pairwise(spans):
        if second["began_s"] < first["ended_s"]:
            found.append(f"two timings overlap by {first['ended_s'] - second['began_s']:.3f} s")
    # a group's timed blocks lie between its two events, so that these cover all that was timed
    found += [
        "timed for longer than it was measured" for each in spans if each["timed_s"] > each["ended_s"] - each["began_s"]
    ]
    blind = [each for each, record in enumerate(records) if not any(map(_is_wait, record["waits"]))]
    if len(blind) > 1:  # the first one may find the machine free at every time
        found.append(f"participants {blind} saw no wait")
    return found


TRIAL = Trial(
    "classroom",
    session,
    1,
    "Of thirty participants who measure at once, no two timings overlap, all are served, and all see their wait.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
