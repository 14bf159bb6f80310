"""Runs that outlive whoever asked for them: a process of its own for each, which anybody can watch, and end.

A job is a folder below ``jobs/`` in the store. The process (``workbench.jobs.process``) keeps a lock on it for as long as it lives, writes
what happens to its journal, and reads from a second file what it is to stop. So a notebook's kernel may end, and another
one, or a second panel, goes on watching. Nothing but files is between the two.
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
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.errors import StoreError, writing
from workbench.experiment import Experiment
from workbench.models.live import packed
from workbench.records import Event, Results, Timing, from_json, to_json
from workbench.store import Store
from workbench.store.keys import Keyring, keyring
from workbench.workers.worker import QUIET_ENV

ASKED, LOCK, JOURNAL, CONTROL, RESULTS, RUN, LOG = (
    "asked.json", "lock", "journal.jsonl", "control.jsonl", "results.json", "run.txt", "log.txt",
)  # fmt: skip
POLL_S = 0.1
LOG_TAIL = 2000  # characters
_children: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Jobs are meant to outlive this process: Python is not to warn of that."""
    for child in _children:
        child.returncode = child.returncode or 0


@dataclass(frozen=True)
class Asked:
    """What a job was asked to do."""

    parameters: dict[str, Any]  # of the experiment
    only: str = "all"  # as in workbench.run
    remeasure: bool = False
    skip: tuple[str, ...] = ()  # rows that are not to be tried
    owner: str = ""  # the notebook that asked, as its server calls it
    began_as: dict[str, Any] | None = None  # parameters that this notebook's panel was made with
    at: str = ""  # UTC, ISO 8601
    metric: str = ""  # live.identity of the function that scores instead of the experiment's metric; "": none was given

    @property
    def experiment(self) -> Experiment:
        return Experiment(**self.parameters)


@dataclass(frozen=True)
class End:
    """How a job ended: "done", "failed" (nothing came of it), "cancelled" (before there were rows) or "lost" (it was killed)."""

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
        """Whether its process lives."""
        for child in _children[:]:
            if child.poll() is not None:  # nobody else collects it
                _children.remove(child)
        try:
            number = os.open(self.folder / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _locked(number, wait=False)
        finally:
            os.close(number)

    def cancel(self, row: str = "") -> None:
        """Ask it to stop, or to stop one row. A job that does not react within seconds ends itself by force."""
        with writing(self.folder), (self.folder / CONTROL).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cancel": row}) + "\n")

    def news(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The whole lines of the journal from a byte on, and where the next ones will begin."""
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
        """The text after its signature: what a job tells is shown as a result, and is not to be changed by a damaged disk."""
        return f"{self._keyring.signing.name} {self._keyring.signing.sign(text)} {text}"

    def opened(self, signed: str) -> str | None:
        """The text that was :meth:`signed`; ``None`` where it was changed, or signed by somebody else."""
        name, _, rest = signed.partition(" ")
        signature, _, text = rest.partition(" ")
        return text if self._keyring.signs(name, signature, text) else None

    def follow(self) -> Iterator[Event | End | None]:
        """All that happened from the beginning, then what happens; ``None`` while nothing does. Its last item is an :class:`End`."""
        offset, timings = 0, dict[str, Timing]()
        while True:
            running = self.running  # asked first: what was written before its end is then read below
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

    def results(self) -> Results | None:
        """What it came to; ``None`` where it has not, or not yet, or where the file is damaged."""
        try:
            text = self.opened((self.folder / RESULTS).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None
        return None if text is None else from_json(Results, json.loads(text))

    @property
    def run(self) -> str:
        """What its run is called in the store and its history; "" where it came to no results."""
        try:
            return (self.folder / RUN).read_text(encoding="utf-8")
        except OSError:
            return ""

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / LOG).read_bytes()[-LOG_TAIL:].decode("utf-8", errors="replace")
        return ""


def start(store: Store, asked: Asked, metric: Any = None) -> Job:
    """Start a job. It does not end with this process, nor with the terminal, and works in the current folder.

    ``metric`` is a function or a ``workbench.Metric`` as :func:`workbench.run` takes it; the process is handed a copy.

    Raises:
        StoreError: the store cannot be written.
        InputError: the metric cannot be handed over.
    """
    given = () if metric is None else (packed(metric),)
    now = datetime.now(UTC)
    job = Job(store.prepare().root / "jobs" / f"{now:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:6]}")
    asked = replace(asked, at=asked.at or now.isoformat(timespec="seconds"))
    with writing(job.folder):
        job.folder.mkdir(parents=True)
        (job.folder / ASKED).write_text(json.dumps(asdict(asked)), encoding="utf-8")
        lock = os.open(job.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # locked here and handed over: there is no moment at which it seems to have ended
        _locked(lock, wait=True)
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


def all_jobs(store: Store) -> tuple[Job, ...]:
    """All jobs in the store, the newest first."""
    folders = sorted((store.root / "jobs").glob("*/"), reverse=True)
    return tuple(Job(folder) for folder in folders if (folder / ASKED).is_file())


def line_of(event: Event, told: dict[str, Timing]) -> dict[str, Any]:
    """An event for the journal. A timing is thousands of numbers: it is written once, and then said to be the same."""
    line: dict[str, Any] = to_json(replace(event, result=None))
    if event.result is not None:
        result = event.result
        line["result"] = to_json(replace(result, timing=None))
        if result.timing is not None:
            same = told.get(result.row) is result.timing
            line["timing"] = "same" if same else to_json(result.timing)
            told[result.row] = result.timing
    return line


def _event(line: dict[str, Any], told: dict[str, Timing]) -> Event:
    timing = line.pop("timing", None)
    event = from_json(Event, line)
    if event.result is None or timing is None:
        return event
    row = event.result.row
    if timing != "same":
        told[row] = from_json(Timing, timing)
    return replace(event, result=replace(event.result, timing=told[row]))


def _locked(number: int, *, wait: bool) -> bool:
    """Lock an open file for good (``wait``), or only look whether nobody has."""
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
