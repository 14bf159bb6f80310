"""The frame of every trial: it tries numbered cases, writes a line for each into a record, and goes on where an earlier call stopped.

A line is JSON: ``trial``, ``seed`` and ``number`` (which repeat a case), ``version`` and ``commit`` of the package, ``time`` (UTC),
``case`` (what was tried), ``held`` (whether the promise held), ``found`` (what was seen, one sentence) and ``figures`` (numbers).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
RECORDS = HERE / "records"
FOUND_CHARS = 600


@dataclass
class Outcome:
    """What became of one case."""

    case: str
    held: bool
    found: str = ""
    figures: dict[str, float] = field(default_factory=dict)


One = Callable[[int, random.Random, Path], Outcome]
"""Tries a case: its number, its random numbers, and an empty folder that is removed afterwards."""


@dataclass(frozen=True)
class Trial:
    """A trial by name: ``session`` gives what tries one case, and ``count`` is how many cases the recorded figures have."""

    name: str
    session: Callable[[], AbstractContextManager[One]]
    count: int
    promise: str


def lines(name: str, records: Path = RECORDS) -> list[dict[str, Any]]:
    """The record of a trial; of a case that was tried several times only the last line. A line cut short is left out."""
    place = records / f"{name}.jsonl"
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for text in place.read_text(encoding="utf-8").splitlines() if place.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:  # the trial was ended while it wrote
            continue
        found[line["seed"], line["number"]] = line
    return list(found.values())


def run(trial: Trial, count: int, seed: int, records: Path = RECORDS, *, again: bool = False) -> list[dict[str, Any]]:
    """Try the cases 0 to ``count`` of ``seed`` that the record lacks (``again``: and those that failed); the lines of all of them."""
    records.mkdir(parents=True, exist_ok=True)
    done = {
        line["number"] for line in lines(trial.name, records) if line["seed"] == seed and (line["held"] or not again)
    }
    todo = [number for number in range(count) if number not in done]
    if todo:
        with trial.session() as one, (records / f"{trial.name}.jsonl").open("a", encoding="utf-8") as file:
            for number in todo:
                file.write(json.dumps(_line(trial, one, seed, number), ensure_ascii=True) + "\n")
                file.flush()
    return [line for line in lines(trial.name, records) if line["seed"] == seed and line["number"] < count]


def _line(trial: Trial, one: One, seed: int, number: int) -> dict[str, Any]:
    draw = random.Random(f"{trial.name} {seed} {number}")  # noqa: S311 - a seed that repeats a case
    place = Path(tempfile.mkdtemp(prefix=f"trial-{trial.name}-"))
    try:
        outcome = one(number, draw, place)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = Outcome("the trial itself", held=False, found=f"{type(error).__name__}: {error} ({where.name})")
    finally:
        _remove(place)
    return {
        "trial": trial.name,
        "seed": seed,
        "number": number,
        **code_version(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "case": outcome.case,
        "held": outcome.held,
        "found": outcome.found.replace(str(place), "FOLDER")[:FOUND_CHARS],
        "figures": outcome.figures,
    }


def _remove(place: Path) -> None:
    for folder, names, _ in os.walk(place):
        for name in names:
            if not (Path(folder) / name).is_symlink():
                (Path(folder) / name).chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)


def code_version() -> dict[str, str]:
    """Version of the package and the commit of the code that is tried; a star marks a checkout with changes."""
    import workbench

    root = Path(workbench.__file__).resolve().parent.parent
    noted = root / "COMMIT"  # of a copy that was taken of a checkout
    if noted.exists():
        return {"version": workbench.__version__, "commit": noted.read_text(encoding="utf-8").strip()}

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", "workbench")
    return {
        "version": workbench.__version__,
        "commit": git("rev-parse", "--short", "HEAD").strip() + "*" * bool(changed),
    }


def summary(name: str, found: list[dict[str, Any]]) -> str:
    """How many cases held, by kind of case, and every case that did not."""
    tried, held = Counter(line["case"] for line in found), Counter(line["case"] for line in found if line["held"])
    text = [f"{name}: {sum(held.values())} of {len(found)} held"]
    text += [f"  {case}: {held[case]} of {number}" for case, number in sorted(tried.items())]
    text += [
        f"  fault: seed {line['seed']} number {line['number']}: {line['case']}: {line['found']}"
        for line in found
        if not line["held"]
    ]
    return "\n".join(text)


def main(trial: Trial) -> int:
    """The command line of a trial; the exit status is 1 where a case did not hold."""
    parser = argparse.ArgumentParser(description=trial.promise)
    parser.add_argument("--count", type=int, default=trial.count, help="cases in all, those in the record included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="try those cases again that did not hold")
    parser.add_argument("--records", type=Path, default=RECORDS, help="the folder of the record")
    options = parser.parse_args()
    with own_places():
        found = run(trial, options.count, options.seed, options.records, again=options.again)
    print(summary(trial.name, found))
    return 0 if all(line["held"] for line in found) else 1


@contextmanager
def own_places() -> Iterator[Path]:
    """A temporary folder, a measuring lock and a key of its own for this process and all that it starts."""
    place = Path(tempfile.mkdtemp(prefix="trials-"))
    own = {
        "WORKBENCH_LOCKS": place / "locks",
        "WORKBENCH_KEY": place / "key",
        "TMPDIR": place / "tmp",
        "HOME": place / "home",
    }
    before = {name: os.environ.get(name) for name in own}
    for name in ("tmp", "home"):
        (place / name).mkdir()
    os.environ.update({name: str(path) for name, path in own.items()})
    tempfile.tempdir = None  # what an earlier call found
    try:
        yield place
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})
        tempfile.tempdir = None
        shutil.rmtree(place, ignore_errors=True)


def exit_with(trial: Trial) -> None:
    """Run the command line of a trial and end the process with its status."""
    sys.exit(main(trial))
