"""Runs in separate processes, which continue when the notebook that started them ends. Several readers can follow one.

A job is a folder below ``jobs/`` in the store. Its process (``workbench.jobs.process``) holds a lock on the folder while it runs, writes
events to a journal, and reads requests to stop from a control file. A notebook's kernel may therefore end, and another kernel or a
second panel can follow the job. The processes communicate by files only.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.errors import StoreError, writing
from workbench.locks import holders
from workbench.models.live import packed
from workbench.records import Event, Results, Timing, from_json, to_json
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.store.keys import Keyring, keyring
from workbench.workers.worker import QUIET_ENV

ASKED, LOCK, JOURNAL, CONTROL, RESULTS, RUN, LOG = (
    "asked.json", "lock", "journal.jsonl", "control.jsonl", "results.json", "run.txt", "log.txt",
)  # fmt: skip
JOBS, SEARCHES = "jobs", "searches"
"""Folders of the store: jobs that are runs, and those that are searches under limits."""
POLL_S = 0.1
LAST_LINE = 4096  # bytes; longer than the line that ends a journal
LOG_TAIL = 2000  # characters
_children: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Mark all child processes as ended: jobs continue after this process, and Python would warn about each of them."""
    for child in _children:
        child.returncode = child.returncode or 0


@dataclass(frozen=True)
class Asked:
    """The request that a job was started with."""

    parameters: dict[str, Any]  # of the experiment
    only: str = "all"  # as in workbench.run
    remeasure: bool = False
    minutes: str = ""  # the time limit; "": none
    skip: tuple[str, ...] = ()  # rows to leave out
    owner: str = ""  # the notebook that started the job, as its server names it
    began_as: dict[str, Any] | None = None  # parameters that this notebook's panel was made with
    at: str = ""  # UTC, ISO 8601
    metric: str = ""  # live.identity of the function that replaces the experiment's metric; "": none
    where: dict[str, Any] = field(default_factory=dict)  # settings of a cluster; empty: this machine
    search: dict[str, Any] | None = None  # arguments of workbench.find_best; None: the job is a run

    @property
    def experiment(self) -> Experiment:
        return Experiment(**self.parameters)


@dataclass(frozen=True)
class End:
    """How a job ended: "done", "failed" (without results), "cancelled" (with the results of the rows that were done, if there are any) or
    "lost" (its process was ended from outside).
    """

    how: str
    message: str = ""


class Job:
    """A job in the store, running or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def asked(self) -> Asked:
        """Raises StoreError where the file is missing or damaged."""
        try:
            return from_json(Asked, json.loads((self.folder / ASKED).read_text(encoding="utf-8")))
        except Exception as cause:
            raise StoreError(f"The job in {self.folder} cannot be read. Remove this folder.") from cause

    @property
    def running(self) -> bool:
        """Whether its process is running."""
        for child in _children[:]:
            if child.poll() is not None:  # collects the exit status of the ended child
                _children.remove(child)
        try:
            number = os.open(self.folder / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not holders.lock(number, shared=True)
        finally:
            os.close(number)

    def cancel(self, row: str = "") -> None:
        """Request that the job, or one of its rows, stops. A job that does not stop within seconds ends its own process."""
        self._request({"cancel": row})

    def _request(self, asked: dict[str, Any]) -> None:
        with writing(self.folder), (self.folder / CONTROL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asked) + "\n")

    def finish(self) -> None:
        """Request that the run begins nothing more and ends with what it has, as if its time limit were over now."""
        self._request({"finish": True})

    def news(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The complete lines of the journal from a byte offset on, and the offset of the next line."""
        try:
            with (self.folder / JOURNAL).open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], offset
        whole = text[: text.rfind(b"\n") + 1]
        lines = (self.opened(line) for line in whole.decode("utf-8", errors="replace").splitlines())
        return [json.loads(line) for line in lines if line is not None], offset + len(whole)

    @cached_property
    def _keyring(self) -> Keyring:
        return keyring(self.folder.absolute().parents[1])

    def signed(self, text: str) -> str:
        """The text with its signature before it. Results are read from the journal, so that a change on the disk must be noticed."""
        return self._keyring.signed(text)

    def opened(self, signed: str) -> str | None:
        """The text of a :meth:`signed` line; ``None`` where it was changed, or signed with a key of another user."""
        return self._keyring.opened(signed)

    def follow(self) -> Iterator[Event | End | None]:
        """All events from the beginning, and then new ones as they occur; ``None`` while there are none. The last item is an :class:`End`."""
        offset, timings = 0, dict[str, Timing]()
        while True:
            running = self.running  # before reading: all that was written before the process ended is then read below
            lines, offset = self.news(offset)
            for line in lines:
                if "end" in line:
                    yield End(line["end"], line["message"])
                    return
                yield _event(line, timings)
            if not running:
                yield End("lost", f"The run's process was ended from outside. {self.log_tail()}".strip())
                return
            yield None
            time.sleep(POLL_S)

    @property
    def end(self) -> End | None:
        """How it ended, from the last line of its journal; ``None`` while it runs."""
        running = self.running  # before reading, as in follow; a process goes on for a moment after its last line
        with contextlib.suppress(OSError):
            with (self.folder / JOURNAL).open("rb") as file:
                file.seek(-min(LAST_LINE, file.seek(0, os.SEEK_END)), os.SEEK_END)
                last = self.opened(
                    file.read().decode("utf-8", errors="replace").rpartition("\n")[0].rpartition("\n")[2]
                )
            line = json.loads(last or "{}")
            if "end" in line:
                return End(line["end"], line["message"])
        return None if running else End("lost")

    def results(self) -> Results | None:
        """The results; ``None`` where there are none, or none yet, or where the file is damaged."""
        found = self.found()
        return None if found is None else from_json(Results, found)

    def found(self) -> Any:
        """The results as plain values; those of a search are its document, also while it goes on. ``None`` as for :meth:`results`."""
        try:
            text = self.opened((self.folder / RESULTS).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None
        return None if text is None else json.loads(text)

    def keep(self, found: Any) -> None:
        """Write the results, as plain values, in the place of those before."""
        draft = self.folder / f".{RESULTS}"
        draft.write_text(self.signed(json.dumps(found)), encoding="utf-8")
        draft.replace(self.folder / RESULTS)

    @property
    def run(self) -> str:
        """The name of its run in the store and its history; "" where there are no results."""
        try:
            return (self.folder / RUN).read_text(encoding="utf-8")
        except OSError:
            return ""

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / LOG).read_bytes()[-LOG_TAIL:].decode("utf-8", errors="replace")
        return ""


def start(store: Store, asked: Asked, metric: Any = None) -> Job:
    """Start a job in the current folder. It continues when this process or the terminal ends.

    ``metric`` is a function or a ``workbench.Metric`` as :func:`workbench.run` takes it; the process gets a pickled copy.

    Raises:
        StoreError: the store cannot be written.
        InputError: the metric cannot be pickled.
    """
    given = () if metric is None else (packed(metric),)
    now = datetime.now(UTC)
    folder = JOBS if asked.search is None else SEARCHES
    job = Job(store.prepare().root / folder / f"{now:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:6]}")
    asked = replace(asked, at=asked.at or now.isoformat(timespec="seconds"))
    with writing(job.folder):
        job.folder.mkdir(parents=True)
        (job.folder / ASKED).write_text(json.dumps(asdict(asked)), encoding="utf-8")
        lock = os.open(job.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # locked here and inherited by the process, so that the job is seen as running from the beginning
        holders.lock(lock, wait=True)
        with (job.folder / LOG).open("wb") as log, tempfile.TemporaryFile() as handed:
            handed.writelines(given)
            handed.seek(0)
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "workbench.jobs.process",
                    str(job.folder),
                    str(store.root),
                    str(lock),
                    *(str(handed.fileno()) for _ in given),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock, handed.fileno()),
                start_new_session=True,  # signals to the kernel and its group do not reach it
                env={**os.environ, "PYTHONPATH": QUIET_ENV["PYTHONPATH"]},
            )
    finally:
        os.close(lock)
    _children.append(child)
    return job


def all_jobs(store: Store, folder: str = JOBS) -> tuple[Job, ...]:
    """All jobs in the store that are runs, or those in another folder, the newest first."""
    folders = sorted((store.root / folder).glob("*/"), reverse=True)
    return tuple(Job(folder) for folder in folders if (folder / ASKED).is_file())


def line_of(event: Event, written: dict[str, Timing]) -> dict[str, Any]:
    """An event for the journal. A timing has thousands of numbers: it is written once, and later lines refer to it."""
    line: dict[str, Any] = to_json(replace(event, result=None))
    if event.result is not None:
        result = event.result
        line["result"] = to_json(replace(result, timing=None))
        if result.timing is not None:
            same = written.get(result.row) is result.timing
            line["timing"] = "same" if same else to_json(result.timing)
            written[result.row] = result.timing
    return line


def _event(line: dict[str, Any], read: dict[str, Timing]) -> Event:
    timing = line.pop("timing", None)
    event = from_json(Event, line)
    if event.result is None or timing is None:
        return event
    row = event.result.row
    if timing != "same":
        read[row] = from_json(Timing, timing)
    return replace(event, result=replace(event.result, timing=read[row]))
