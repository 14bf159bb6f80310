"""The process of a job: ``python -m workbench.jobs.process FOLDER STORE LOCK [METRIC]``. It runs the pipeline, as any notebook could.

``LOCK`` is the number of an open file whose lock says that this process lives; it is kept open and never used. ``METRIC`` is
that of one with a packed function. Workers end with this process, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from workbench import pipeline
from workbench.errors import Cancelled, WorkbenchError, brief
from workbench.jobs import jobs
from workbench.models.live import unpacked
from workbench.records import Event, Timing, to_json
from workbench.store import Store
from workbench.system.stop import Stop

PATIENCE_S = 15.0
"""What a cancelled run may take to come to its end by itself."""


class Journal:
    """Writes events, a line each, so that whoever watches sees whole lines only."""

    def __init__(self, job: jobs.Job) -> None:
        self._job = job
        self._file = (job.folder / jobs.JOURNAL).open("ab", buffering=0)
        self._told: dict[str, Timing] = {}
        self._lock = threading.Lock()
        self._ended = False

    def tell(self, event: Event) -> None:
        self._write(jobs.line_of(event, self._told))

    def end(self, how: str, message: str = "") -> None:
        """The last line; a second call writes nothing."""
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
        results = pipeline.run(
            asked.experiment,
            store=store,
            on_event=journal.tell,
            cancel=stop,
            only=asked.only,
            remeasure=asked.remeasure,
            metric=unpacked(handed) if handed else None,
        )
        draft = job.folder / f".{jobs.RESULTS}"
        draft.write_text(job.signed(json.dumps(to_json(results))), encoding="utf-8")
        draft.replace(job.folder / jobs.RESULTS)
        (job.folder / jobs.RUN).write_text(results.run, encoding="utf-8")
    except Cancelled as error:
        journal.end("cancelled", error.message)
    except WorkbenchError as error:
        journal.end("failed", error.message)
    except Exception as error:
        journal.end("failed", f"Something unexpected went wrong: {type(error).__name__}: {brief(error)}")
        raise  # for the log
    else:
        journal.end("done")


def _obey(job: jobs.Job, stop: Stop, journal: Journal) -> None:
    """In a thread: what others ask for in the control file."""
    control, read = job.folder / jobs.CONTROL, 0
    while not stop.everything:
        time.sleep(jobs.POLL_S)
        if not control.exists():
            continue
        lines = control.read_text(encoding="utf-8").splitlines()
        for line in lines[read:]:
            row = json.loads(line)["cancel"]
            if row:
                stop.stop_row(row)
            else:
                stop.set()
        read = len(lines)
    time.sleep(PATIENCE_S)
    journal.end("cancelled", "Stopped on request, by force: a step did not end by itself. What was finished is kept.")
    os._exit(1)  # the main thread hangs in a library; workers notice that their pipe is closed


def main() -> None:
    folder, store = (Path(argument) for argument in sys.argv[1:3])
    handed = b""
    for number in sys.argv[4:]:
        with os.fdopen(int(number), "rb") as file:
            handed = file.read()
    run(jobs.Job(folder), Store(store), handed)


if __name__ == "__main__":
    main()
