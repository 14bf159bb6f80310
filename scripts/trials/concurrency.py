"""Eight reports at once on one store, one of them stopped and one killed: all others end, and each says why it waited."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import recording
import stores
import trial_model
import waits
from recording import One, Outcome, Trial
from reports import Report, program

REPORTS, CONTENTS = 8, 4
LIMIT_S, POLL_S = 900.0, 0.1
HOW = ("while it measures", "while it makes an artefact", "at a random time")


def _stop(reports: list[Report], store: Path, how: str, draw: random.Random) -> Report:
    """Stop one of the reports, and return it."""
    began, moment = time.monotonic(), draw.uniform(2, 20)

    def chosen() -> Report | None:
        if how == "while it measures":
            return waits.measures(reports)
        return waits.makes(store, reports) if how == "while it makes an artefact" else draw.choice(reports)

    while time.monotonic() - began < LIMIT_S and any(report.process.poll() is None for report in reports):
        found = chosen() if time.monotonic() - began > moment or how == "while it measures" else None
        if found and found.process.poll() is None:
            found.signal_all(signal.SIGSTOP)
            if how == "at a random time" or chosen() is found:
                return found
            found.signal_all(signal.SIGCONT)  # it went on between the two looks
        time.sleep(POLL_S)
    raise TimeoutError("no report could be stopped")


def _watched(others: list[Report], store: Path, began: float) -> tuple[waits.Watch, dict[Report, float], list[str]]:
    """Watch reports until they have ended: their waits, when each ended in seconds after ``began``, and faults of the history."""
    import workbench

    watch, ended, faults = waits.Watch(others), dict[Report, float](), list[str]()
    while len(ended) < len(others) and time.monotonic() - began < LIMIT_S:
        watch.look()
        for report in others:
            if report not in ended and report.process.poll() is not None:
                ended[report] = time.monotonic() - began
        try:
            workbench.history(store)
        except Exception as error:
            faults.append(f"history: {type(error).__name__}: {error}")
        time.sleep(1)
    return watch, ended, faults


@contextlib.contextmanager
def session(count: int = REPORTS, *, pages: bool = True) -> Iterator[One]:
    """``pages``: whether each is a ``report``, which starts a kernel; otherwise a run without a page, which takes a third of the time."""

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        import workbench

        store, how = place / "store", HOW[number % len(HOW)]
        reports = []

        def start(each: int, name: str) -> Report:
            model, data = place / f"m{each}.onnx", place / f"d{each}.npz"
            asked = trial_model.SETTINGS | {"model": str(model), "data": str(data)}
            return Report(place, model, data, store, name=name, command=() if pages else program(asked, store))

        for each in range(count):
            seed = 100 * number + each % CONTENTS
            trial_model.write_model(place / f"m{each}.onnx", seed=seed)
            trial_model.write_data(place / f"d{each}.npz", seed=seed)
            reports.append(start(each, f"r{each}"))
        held = _stop(reports, store, how, draw)
        stopped_at, stopped = time.monotonic(), [process.pid for process in held.processes]
        same = [reports.index(held) % CONTENTS + more for more in (0, CONTENTS)]
        twins = [reports[each] for each in same if each < count and reports[each] is not held]
        time.sleep(draw.uniform(0, 10))
        killed = draw.choice([report for report in reports if report is not held and report not in twins])
        killed.signal_all(signal.SIGKILL)
        killed.wait(10)
        others = [report for report in reports if report not in (held, killed)]
        watch, ended, faults = _watched(others, store, stopped_at)
        for report in others:
            faults += _faults(report, report.wait(1), "another")
            faults += watch.faults(report)
        if how == "while it makes an artefact":
            faults += [said_texts for twin in twins for said_texts in waits.faults_of_twin(twin, stopped)]
        held.signal_all(signal.SIGCONT)
        faults += _faults(held, held.wait(LIMIT_S), "the stopped one, continued")
        again = start(reports.index(killed), "again")
        faults += _faults(again, again.wait(LIMIT_S), "the killed one, again")
        faults += [f"corrupt: {reported}" for reported in stores.corrupt(store)]
        found = workbench.history(store, status="done")
        faults += [f"{name} has no result of accuracy 1.0" for name in _missing(found, count)]
        figures = {
            "reports": count, "others": len(others), "waited": len(watch.waited), "said_why": len(watch.said),
            "last_ended_s": round(max(ended.values(), default=0.0), 1),
        }  # fmt: skip
        return Outcome(f"{count} reports, one stopped {how}, one killed", not faults, "; ".join(faults), figures)

    yield one


def _missing(found: object, count: int) -> list[str]:
    """Models of whose content there is no right result: one that was measured under another name is not measured again."""
    import pandas as pd

    assert isinstance(found, pd.DataFrame)
    right = {int(name[1:]) % CONTENTS for name in found[found["accuracy"] == 1.0]["model"]}
    return [f"m{each}" for each in range(min(count, CONTENTS)) if each not in right]


def _faults(report: Report, status: int | None, who: str) -> list[str]:
    if status is None:
        return [f"{who} did not end; its last lines: {report.text[-300:]}"]
    reported = [f"{who} ended with {status}: {report.text[-300:]}"] if status else []
    reported += [f"{who}: traceback"] if "Traceback" in report.text else []
    return reported + [f"{who}: orphan {orphan}" for orphan in report.orphans(10)]


TRIAL = Trial(
    "concurrency",
    session,
    6,
    "Of eight reports at once one is stopped and one killed; all others end and say why they waited.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
