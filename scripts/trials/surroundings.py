"""Poor surroundings: a run ends well or in one sentence, and after a full disk the same command goes on and ends well.

The cases 0 to 49 fill the disk at fifty points of a run: its store lies on a small file system of its own (which takes the rights to
mount one), that is made larger afterwards. The others are read-only places, odd names, missing variables, limits and closed streams.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import recording
import stores
import trial_model
from kill import wrong_results
from recording import One, Outcome, Trial
from reports import Report, arguments, program

POINTS, LIMIT_S = 50, 300
LARGE = "64m"
SENTENCE = "workbench: "


class Disk:
    """A file system of ``size`` bytes in memory; use as a context manager."""

    def __init__(self, place: Path, size: str, inodes: int = 0) -> None:
        self.place, self._size, self._inodes = place, size, inodes
        place.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        more = f",nr_inodes={self._inodes}" if self._inodes else ""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}{more}", "tmpfs", self.place], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.place], check=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)

    @property
    def used(self) -> int:
        """Bytes that are in use."""
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    @property
    def used_inodes(self) -> int:
        found = os.statvfs(self.place)
        return found.f_files - found.f_ffree


@dataclass
class Need:
    """What a whole run takes: bytes and inodes."""

    bytes: int = 0
    inodes: int = 0


def _asked(place: Path) -> dict[str, object]:
    model, data = trial_model.write_model(place / "m.onnx"), trial_model.write_data(place / "d.npz")
    return trial_model.SETTINGS | {"model": str(model), "data": str(data)}


def full_disk(number: int, draw: random.Random, place: Path, need: Need) -> Outcome:
    """A run on a disk that is full at the point ``number`` of :data:`POINTS`; then on one that is large enough."""
    asked = _asked(place)
    by_inodes = draw.random() < 0.2
    share = (number + draw.random()) / POINTS
    size = max(4096, int(share * need.bytes)) if not by_inodes else 2**26
    with Disk(place / "disk", str(size), max(3, int(share * need.inodes)) if by_inodes else 0) as disk:
        temporary = disk.place / "tmp" if draw.random() < 0.5 else place / "tmp"
        with contextlib.suppress(OSError):
            temporary.mkdir()
        env = {"TMPDIR": str(temporary)}
        how = draw.choice(("run", "run", "report"))

        def again(name: str) -> Report:
            command = program(asked, disk.place / "store") if how == "run" else ()
            report = Report(
                disk.place if how == "report" else place, place / "m.onnx", place / "d.npz", disk.place / "store", env=env,
                command=command, name=name, log=place,
            )  # fmt: skip
            report.wait(LIMIT_S)
            return report

        first = again("r")
        faults = _told(first, "with a full disk")
        disk.remount(f"size={LARGE}" + (",nr_inodes=100000" if by_inodes else ""))
        temporary.mkdir(exist_ok=True)
        second = again("r")
        faults += (
            [f"with a larger disk: status {second.process.returncode}: {second.text[-300:]}"]
            if second.process.returncode
            else []
        )
        faults += [f"with a larger disk: {reported}" for reported in wrong_results(disk.place / "store", rows=1)]
        faults += [f"corrupt: {reported}" for reported in stores.corrupt(disk.place / "store")]
    kind = f"{how}, {'inodes' if by_inodes else 'space'} used up at {share:.0%}"
    ended = "" if first.process.returncode else "the first one ended well"
    return Outcome(
        f"full disk: {how}", not faults, "; ".join(faults) or f"{kind}; {ended or first.text.strip()[-200:]}"
    )


def _told(report: Report, when: str) -> list[str]:
    """What is wrong with the way in which a run ended: a traceback, no end, or no sentence."""
    status, text = report.process.returncode, report.text
    if status is None or status < 0:
        return [f"{when}: it was ended with {status}: {text[-200:]}"]
    if "Traceback" in text:
        return [f"{when}: traceback: {text[-300:]}"]
    return [f"{when}: status {status} without a sentence: {text[-200:]}"] if status and SENTENCE not in text else []


@dataclass(frozen=True)
class Case:
    """``prepare`` changes the folder and returns the store; ``line`` of the shell starts the command, with ``{}`` in its place."""

    prepare: Callable[[Path], Path] = lambda place: place / "store"
    env: dict[str, str | None] = field(default_factory=dict)
    line: str = "exec {}"
    well: bool | None = True  # it has to end well, or with a sentence (False), or either (None)


def _file(place: Path) -> Path:
    (place / "store").write_text("x")
    return place / "store"


def _odd(name: str) -> Callable[[Path], Path]:
    def prepare(place: Path) -> Path:
        return place / name / "store"

    return prepare


OTHERS: dict[str, Case] = {
    "store is a file": Case(_file, well=False),
    "store below a file": Case(lambda place: _file(place) / "below", well=False),
    "store in /proc": Case(lambda _: Path("/proc/store"), well=False),
    "name with a space, percent and braces": Case(_odd("a b%s{x}$HOME")),
    "name with a line break": Case(_odd("a\nb")),
    "name with an escape sequence": Case(_odd("a\x1b[2Jb")),
    "name with quotes and a backslash": Case(_odd("a'b\"c\\d")),
    "name in another script": Case(_odd("モデル-модель-🙂")),
    "name that is not UTF-8": Case(_odd("a\udcff"), well=None),
    "name that begins with a dash": Case(_odd("-rf")),
    "name of 255 bytes": Case(_odd("n" * 255)),
    "path that is too long": Case(_odd("/".join(["n" * 250] * 17)), well=False),
    "HOME unset": Case(env={"HOME": None}),
    "HOME absent": Case(env={"HOME": "/nonexistent"}),
    "HOME is a file": Case(env={"HOME": "/etc/hostname"}),
    "HOME empty": Case(env={"HOME": ""}),
    "TMPDIR unset": Case(env={"TMPDIR": None}),
    "TMPDIR absent": Case(env={"TMPDIR": "/nonexistent"}),
    "TMPDIR is a file": Case(env={"TMPDIR": "/etc/hostname"}),
    "PATH empty": Case(env={"PATH": ""}),
    "no environment but PATH": Case(line='exec env -i PATH=/usr/bin:/bin PYTHONPATH="$PYTHONPATH" {}'),
    "ASCII": Case(env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}),
    "Latin-1": Case(env={"PYTHONIOENCODING": "latin-1"}),
    "assertions off": Case(env={"PYTHONOPTIMIZE": "2"}),
    "warnings are errors in our environment": Case(env={"PYTHONDEVMODE": "1"}),
    "an odd time zone": Case(env={"TZ": "Nowhere/Else"}),
    "ulimit -n 64": Case(line="ulimit -n 64; exec {}", well=None),
    "ulimit -n 32": Case(line="ulimit -n 32; exec {}", well=None),
    "ulimit -f 8": Case(line="ulimit -f 8; exec {}", well=None),
    "ulimit -v 1 GiB": Case(line="ulimit -v 1048576; exec {}", well=False),
    "ulimit -t 2": Case(line="ulimit -t 2; exec {}", well=None),
    "ulimit -u 1": Case(line="ulimit -u 1; exec {}", well=None),  # no effect for root
    "umask 777": Case(line="umask 777; exec {}", well=None),
    "standard output closed": Case(line="exec {} >&-"),
    "standard input closed": Case(line="exec {} <&-"),
    "standard error closed": Case(line="exec {} 2>&-"),
    "all streams closed": Case(line="exec {} <&- >&- 2>&-"),
    "standard output full": Case(line="exec {} >/dev/full", well=None),
    "reader of the output gone": Case(line="{} | true"),
    "current folder removed": Case(line="mkdir gone; cd gone; rmdir ../gone; exec {}", well=None),
    "SIGPIPE, SIGCHLD and SIGTERM ignored": Case(line="trap '' PIPE CHLD TERM; exec {}"),
}  # fmt: skip


def other(name: str, place: Path, command: str) -> Outcome:
    """A command in other surroundings."""
    case = OTHERS[name]
    asked = _asked(place)
    store = case.prepare(place)
    with contextlib.suppress(OSError):
        store.parent.mkdir(parents=True, exist_ok=True)
    temporary = place / "tmp"
    temporary.mkdir()
    more = {"output": place / "r.html"} if command == "report" else {}
    words = [sys.executable, "-m", "workbench", command, *arguments(**asked, store=store, **more)]
    shell = [shutil.which("bash") or "bash", "-c", case.line.replace("{}", " ".join(map(shlex.quote, words)))]
    report = Report(
        place, place / "m.onnx", place / "d.npz", store, env={"TMPDIR": str(temporary), **case.env}, command=shell
    )
    status = report.wait(LIMIT_S)
    faults = _told(report, name) if status is None or status not in (-signal.SIGXCPU, -signal.SIGKILL) else []
    silent = "closed" in name or "full" in name or "gone" in name  # what is said cannot be seen
    faults = [reported for reported in faults if not (silent and "without a sentence" in reported)]
    if case.well is True:
        faults += [f"ended with {status}: {report.text[-300:]}"] if status else wrong_results(store, rows=1)
    if case.well is False and status == 0:
        faults.append("it ended well, which cannot be")
    faults += [f"corrupt: {reported}" for reported in stores.corrupt(store)] if os.path.isdir(store) else []  # noqa: PTH112 - false, not an error, for a path too long
    faults += [f"orphan: {reported}" for reported in report.orphans(10)]
    return Outcome(name, not faults, "; ".join(faults) or f"status {status}: {report.text.strip()[-160:]}")


@contextlib.contextmanager
def session(command: str = "report") -> Iterator[One]:
    """``command``: ``report``, or ``run``, which starts no kernel, in surroundings other than a full disk."""
    need = Need()

    def one(number: int, draw: random.Random, place: Path) -> Outcome:
        if number >= POINTS:
            return other([*OTHERS][number - POINTS], place, command)
        if not need.bytes:
            with Disk(place / "whole", LARGE) as disk:
                report = Report(place, place, place, place, command=program(_asked(place), disk.place / "store"))
                report.wait(LIMIT_S)
                need.bytes, need.inodes = disk.used, disk.used_inodes
        return full_disk(number, draw, place, need)

    yield one


TRIAL = Trial(
    "surroundings",
    session,
    POINTS + len(OTHERS),
    "In poor surroundings a run ends well or in one sentence, and loses nothing.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
