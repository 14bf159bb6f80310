"""The process of a job: ``python -m workbench.jobs.process FOLDER STORE LOCK [METRIC]``. It runs the pipeline as a notebook does, or a
search under limits.

``LOCK`` is the descriptor of an open file whose lock shows that this process runs; it is kept open and never used. ``METRIC`` is
the descriptor of a file with a pickled function. Workers end with this process, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.cluster.where import run as run_there
from workbench.errors import Cancelled, WorkbenchError, brief
from workbench.jobs import job as jobs
from workbench.models.live import unpacked
from workbench.records import Event, Status, Timing, to_json
from workbench.settings.cluster import ClusterSettings
from workbench.store import Store
from workbench.system.stop import Stop

PATIENCE_S = 15.0
"""Seconds after which a cancelled run that has not ended is ended by force."""


class Journal:
    """Writes events as one line each; readers see complete lines only."""

    def __init__(self, job: jobs.Job) -> None:
        self._job = job
        self._file = (job.folder / jobs.JOURNAL).open("ab", buffering=0)
        self._timings: dict[str, Timing] = {}
        self._lock = threading.Lock()
        self._ended = False

    def write(self, event: Event) -> None:
        self._write(jobs.line_of(event, self._timings))

    def end(self, how: str, message: str = "") -> None:
        """Write the last line; a second call has no effect."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._write({"end": how, "message": message})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(self._job.signed(json.dumps(line)).encode() + b"\n")


def run(job: jobs.Job, store: Store, handed: bytes = b"") -> None:
    asked = job.asked
    stop, journal = Stop(), Journal(job)
    for row in asked.skip:
        stop.stop_row(row)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    threading.Thread(target=_obey, args=(job, stop, journal), daemon=True).start()
    try:
        cancelled = (
            _search(job, store, journal, stop) if asked.search is not None else _run(job, store, journal, stop, handed)
        )
    except Cancelled as error:
        journal.end("cancelled", error.message)
    except WorkbenchError as error:
        journal.end("failed", error.message)
    except Exception as error:
        journal.end("failed", f"Something unexpected went wrong: {type(error).__name__}: {brief(error)}")
        raise  # for the log
    else:
        journal.end("cancelled" if cancelled else "done")


def _run(job: jobs.Job, store: Store, journal: Journal, stop: Stop, handed: bytes) -> bool:
    """Carry out a run; whether it was cancelled."""
    asked = job.asked
    results = run_there(
        asked.experiment,
        ClusterSettings(**asked.where),
        store=store,
        on_event=journal.write,
        cancel=stop,
        only=asked.only,
        remeasure=asked.remeasure,
        minutes=asked.minutes,
        metric=unpacked(handed) if handed else None,
    )
    job.keep(to_json(results))
    (job.folder / jobs.RUN).write_text(results.run, encoding="utf-8")
    states = {row.status for row in results.rows if not row.left_out} - {Status.UNSUPPORTED}
    return states == {Status.CANCELLED} or (stop.everything and Status.CANCELLED in states)


def _search(job: jobs.Job, store: Store, journal: Journal, stop: Stop) -> bool:
    """Carry out a search, whose result so far is written after each point; whether it was cancelled."""
    from workbench.search.under_limits.document import document
    from workbench.search.under_limits.find import find_best

    asked = job.asked
    limits: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in (asked.search or {}).items()
    }
    found = find_best(
        asked.experiment,
        **limits,
        store=store,
        on_event=lambda event: journal.write(replace(event, result=None)),
        on_result=lambda result: job.keep(document(result)),
        cancel=stop,
    )
    job.keep(document(found))
    return found.cancelled


def _obey(job: jobs.Job, stop: Stop, journal: Journal) -> None:
    """In a thread: carry out the requests in the control file."""
    control, read = job.folder / jobs.CONTROL, 0
    while not stop.everything:
        time.sleep(jobs.POLL_S)
        if not control.exists():
            continue
        lines = control.read_text(encoding="utf-8").splitlines()
        for line in lines[read:]:
            asked = json.loads(line)
            if asked.get("finish"):
                stop.deadline.finish()
            elif row := asked["cancel"]:
                stop.stop_row(row)
            else:
                stop.set()
        read = len(lines)
    time.sleep(PATIENCE_S)
    journal.end("cancelled", "Stopped on request, by force: a step did not end by itself. What was finished is kept.")
    os._exit(1)  # the main thread hangs in a library; workers end when their pipe is closed


def main() -> None:
    folder, store = (Path(argument) for argument in sys.argv[1:3])
    handed = b""
    for number in sys.argv[4:]:
        with os.fdopen(int(number), "rb") as file:
            handed = file.read()
    run(jobs.Job(folder), Store(store), handed)


if __name__ == "__main__":
    main()
