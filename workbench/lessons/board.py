"""The class board: what each participant of a class predicted and measured in the lessons, read from a shared folder.

Each kernel writes one file of its own, which it has created and which no other user may write. A file counts if its owner is the user
that its name says, so that an answer in the name of another user is ignored.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from workbench.errors import InputError, brief, writing
from workbench.errors.printable import one_line
from workbench.locks import holders

LANGUAGES = ("en", "zh")
FOLDER = "WORKBENCH_BOARD"
"""Environment variable with the shared folder; without it nothing is written."""
MOST_FILES, MOST_BYTES, MOST_TEXT = 2000, 1 << 18, 200
"""Files that are read, bytes of each, and characters of each text."""
_FILE = re.compile(r"(\d{1,10})-[0-9a-f]{12}\.jsonl")
_own: dict[tuple[int, str], int] = {}
"""The descriptor of this process's file, by process number and folder."""


class PredictionOutcome(StrEnum):
    """What became of a prediction."""

    HELD = "held"
    FAILED = "failed"
    OPEN = "neither"
    NONE = "no prediction"


class CheckedPrediction(NamedTuple):
    """One check of a lesson that a participant ran."""

    question: str
    predicted: str
    measured: str
    outcome: PredictionOutcome
    at: float = 0.0  # seconds since 1970
    alias: str = ""  # shown instead of the user's name


class BoardLine(NamedTuple):
    """A participant's line below a question: the first check with a prediction, and whether the prediction changed afterwards."""

    name: str
    checked: CheckedPrediction
    changed: bool = False


def publish(checked: CheckedPrediction) -> str:
    """Add a check to this process's file in the shared folder, if there is one; a sentence where that is not possible, else ""."""
    folder = os.environ.get(FOLDER, "")
    if not folder:
        return ""
    try:
        number = _own.get((os.getpid(), folder))
        if number is None:
            path = Path(folder) / f"{os.getuid()}-{uuid.uuid4().hex[:12]}.jsonl"
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            os.fchmod(number, 0o644)  # readable for the others, regardless of the umask
            _own[os.getpid(), folder] = number
        alias = holders.shown_name() if os.environ.get(holders.NAME) else ""
        text = [one_line(part)[:MOST_TEXT] for part in checked[:3]]
        os.write(number, (json.dumps([*text, checked.outcome, time.time(), alias]) + "\n").encode())
    except OSError as error:
        return f"This answer is not on the class board: {one_line(folder)} cannot be written ({brief(error)})."
    return ""


def prepare(folder: Path) -> None:
    """Create the shared folder, in which every user may create files and no other user may change those of others.

    Raises:
        StoreError: it cannot be created.
        InputError: there is something else, or users could replace each other's files.
    """
    with writing(folder, f"option --folder, or the variable {FOLDER}"):
        if not os.path.lexists(folder):
            folder.mkdir(mode=0o700)
            folder.chmod(0o1777)
    found = folder.lstat().st_mode
    if not stat.S_ISDIR(found) or (found & 0o022 and not found & stat.S_ISVTX):
        raise InputError(
            f"'{folder}' is not a folder in which users cannot replace each other's files. Make one: install -d -m 1777 {folder}"
        )


def read(folder: Path) -> list[tuple[int, CheckedPrediction]]:
    """All checks in the shared folder with the number of the user, in the order in which they were made."""
    found: list[tuple[int, CheckedPrediction]] = []
    for path in sorted(folder.glob("*.jsonl"))[:MOST_FILES]:
        if (name := _FILE.fullmatch(path.name)) and (text := _text(path, int(name[1]))):
            found += [(int(name[1]), checked) for checked in _checks(text)]
    return sorted(found, key=lambda each: each[1].at)


def _text(path: Path, owner: int) -> str:
    """The text of a file of this user; "" of any other file."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            state = os.fstat(number)
            if stat.S_ISREG(state.st_mode) and state.st_uid == owner:
                return os.pread(number, MOST_BYTES, 0).decode(errors="replace")
        finally:
            os.close(number)
    return ""


def _checks(text: str) -> Iterator[CheckedPrediction]:
    for line in text.split("\n")[:-1]:  # the last one may still be written
        with suppress(ValueError, TypeError, OverflowError, RecursionError):
            question, predicted, measured, outcome, at, alias = json.loads(line)
            texts = (one_line(part)[:MOST_TEXT] for part in (question, predicted, measured))
            alias = one_line(alias)[: holders.MOST_NAME]
            if float(at) >= 0:  # not NaN, which has no place in an order
                yield CheckedPrediction(
                    next(texts), next(texts), next(texts), PredictionOutcome(outcome), float(at), alias
                )


def lines(checks: Iterable[tuple[int, CheckedPrediction]]) -> dict[str, list[BoardLine]]:
    """The participants' lines by question: the question that was asked last comes first.

    A participant is a user, or an alias of one: several people may use one account.
    """
    names: dict[tuple[int, str], str] = {}
    asked: dict[str, dict[str, BoardLine]] = {}
    for user, checked in checks:
        name = names.get((user, checked.alias)) or names.setdefault(
            (user, checked.alias), _free(checked.alias or _name_of(user), names.values())
        )
        by_name = asked.setdefault(checked.question, {})
        before = by_name.get(name)
        if before is None or (
            before.checked.outcome == PredictionOutcome.NONE and checked.outcome != PredictionOutcome.NONE
        ):
            # an answer that was seen before the prediction was made is a changed prediction too
            by_name[name] = BoardLine(name, checked, before is not None)
        elif checked.outcome != PredictionOutcome.NONE and checked.predicted != before.checked.predicted:
            by_name[name] = before._replace(changed=True)
    return {question: sorted(found.values()) for question, found in reversed(asked.items())}


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or with a number where another participant has it."""
    others, number = set(taken), 1
    while (shown := name if number == 1 else f"{name} ({number})") in others:
        number += 1
    return shown


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
