"""A damaged store: whatever is changed in a file of it, the next run notices, makes it again, and comes to the same results."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import recording
import stores
import trial_model
from recording import One, Outcome, Trial

Damage = Callable[[Path, random.Random], str]
LIMIT_S = 300
MEMORY_BYTES = 6 * 2**30
PRECISIONS = {"precisions": "fp32,int8", "calibration_samples": 16, "budget": "none"}


def _flip(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [draw.randrange(len(data)) for _ in range(draw.choice((1, 1, 1, 30)))]
    for place in places:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return f"{len(places)} bits flipped" if len(places) > 1 else "a bit flipped"


def _cut(path: Path, draw: random.Random) -> str:
    size = path.stat().st_size
    os.truncate(path, draw.choice((0, 1, size // 2, max(0, size - 1))))
    return "cut"


def _longer(path: Path, draw: random.Random) -> str:
    with path.open("ab") as file:
        file.write(draw.choice((b"\0" * 4096, b"\n", draw.randbytes(100))))
    return "bytes appended"


def _garbage(path: Path, draw: random.Random) -> str:
    size = path.stat().st_size
    path.write_bytes(
        draw.choice((bytes(size), draw.randbytes(size), b"null", b"[]", b"{}", b"[" * 100_000, b'{"a":' * 50_000))
    )
    return "replaced by other bytes"


def _edited(path: Path, draw: random.Random) -> str:
    """Change a number in the text, which stays well-formed."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    places = [place for place, char in enumerate(text) if char.isdigit()]
    if not places:
        return _flip(path, draw)
    place = draw.choice(places)
    digit = str((int(text[place]) + draw.randrange(1, 9)) % 10) if text[place].isascii() else "1"
    path.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8", errors="surrogateescape")
    return "a digit changed"


def _deleted(path: Path, _: random.Random) -> str:
    path.unlink()
    return "deleted"


def _folder(path: Path, _: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return "a folder in its place"


def _dangling(path: Path, draw: random.Random) -> str:
    path.unlink()
    path.symlink_to(draw.choice(("/nonexistent/file", path.name, "../../../..")))
    return "a link to nothing, to itself or to a folder in its place"


def _linked(path: Path, draw: random.Random) -> str:
    others = [each for each in path.parents[1].glob(f"*/{path.name}") if each != path] or [Path("/etc/hostname")]
    path.unlink()
    path.symlink_to(draw.choice(others))
    return "a link to another file in its place"


def _pipe(path: Path, _: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a pipe in its place, which no process writes to"


def _endless(path: Path, _: random.Random) -> str:
    path.unlink()
    path.symlink_to("/dev/zero")
    return "a link to a device without end in its place"


def _sparse(path: Path, _: random.Random) -> str:
    with path.open("ab") as file:
        file.truncate(2**32)
    return "grown to 4 GiB without content"


FILES: tuple[Damage, ...] = (
    _flip, _flip, _flip, _cut, _longer, _garbage, _edited, _edited, _deleted, _folder, _dangling, _linked, _pipe, _endless,
    _sparse,
)  # fmt: skip
"""What is done to a file."""


def _swapped(store: Path, draw: random.Random) -> str:
    """Two artefacts of one kind under each other's names."""
    kinds: dict[str, list[Path]] = {}
    for folder in stores.artefacts(store):
        kinds.setdefault(folder.parent.name, []).append(folder)
    first, second = draw.sample(draw.choice([found for found in kinds.values() if len(found) > 1]), 2)
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return f"{first.parent.name}: two artefacts exchanged"


def _extra(store: Path, draw: random.Random) -> str:
    folder = draw.choice(stores.artefacts(store))
    (folder / draw.choice(("extra", "model.onnx.data", ".hidden", "a/b"))).parent.mkdir(exist_ok=True)
    (folder / draw.choice(("extra", "model.onnx.data", ".hidden"))).write_bytes(b"x")
    return f"{folder.parent.name}: a file added"


def _kind_is_file(store: Path, draw: random.Random) -> str:
    kind = draw.choice(
        sorted(
            {folder.parent for folder in stores.artefacts(store)} | {store / "runs", store / "logs", store / "locks"}
        )
    )
    shutil.rmtree(kind)
    kind.write_text("x")
    return f"{kind.name}: a file in place of the folder"


def _kind_is_gone(store: Path, draw: random.Random) -> str:
    kind = draw.choice(
        sorted(
            {folder.parent for folder in stores.artefacts(store)} | {store / "runs", store / "logs", store / "locks"}
        )
    )
    shutil.rmtree(kind)
    return f"{kind.name}: the folder deleted"


def _artefact_is(store: Path, draw: random.Random) -> str:
    folder = draw.choice(stores.artefacts(store))
    shutil.rmtree(folder)
    how = draw.randrange(4)
    if how == 0:
        folder.mkdir()
    elif how == 1:
        folder.write_bytes(b"")
    elif how == 2:
        folder.symlink_to("/nonexistent")
    else:
        folder.symlink_to(".")
    return f"{folder.parent.name}: {('an empty folder', 'a file', 'a dangling link', 'a link to its parent')[how]} in place of an artefact"


def _index_edited(store: Path, draw: random.Random) -> str:
    """A sound database with other values."""
    statement = draw.choice((
        "UPDATE results SET accuracy = 0.5", "UPDATE results SET p50_ms = 0.001", "DELETE FROM results WHERE rowid = 1",
        "UPDATE records SET json = replace(json, '1.0', '0.5')", "UPDATE runs SET model = 'other'", "DROP TABLE records",
        "UPDATE runs SET rows = 99", "DELETE FROM runs", "PRAGMA user_version = 99", "UPDATE runs SET own = 0",
    ))  # fmt: skip
    with contextlib.closing(sqlite3.connect(store / "results.sqlite")) as index:
        index.execute(statement)
        index.commit()
    return f"results.sqlite: {statement}"


WHOLE: tuple[Damage, ...] = (_swapped, _extra, _kind_is_file, _kind_is_gone, _artefact_is, _index_edited, _index_edited)
"""What is done to a store."""


def one_of(store: Path, draw: random.Random) -> str:
    """Damage something in the store; what was done, in words."""
    if draw.random() < 0.25:
        return draw.choice(WHOLE)(store, draw)
    files = [
        path
        for path in sorted(store.rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.stat().st_size
    ]
    manifests = [path for path in files if path.name == "manifest.json"]
    other = [path for path in files if path not in manifests and path.parent.name != "logs"]
    path = draw.choice(draw.choice((manifests, other)))
    name = path.relative_to(store)
    what = f"{name.parts[0]}: {path.name if len(name.parts) > 2 else 'the file'}"
    return f"{what}: {draw.choice(FILES)(path, draw)}"


def plain(row: Any) -> dict[str, Any]:
    """A row of results as JSON without what may differ from run to run: times."""
    from workbench.records import to_json

    engine = replace(row.engine, build_s=0.0, built_at="") if row.engine else None
    found: dict[str, Any] = to_json(replace(row, engine=engine, timing=None, also=(), load=None, reused=False))
    return found


@contextlib.contextmanager
def session() -> Iterator[One]:
    import workbench

    root = Path(tempfile.mkdtemp(prefix="damage-"))
    model, data = trial_model.write_model(root / "m.onnx"), trial_model.write_data(root / "x.npz")
    experiment = workbench.Experiment(model=str(model), data=str(data), **trial_model.SETTINGS | PRECISIONS)
    place = root / "store"  # the same for every case: some facts hold paths
    sound = root / "sound"
    for remeasure in (False, True):
        first = workbench.run(experiment, store=place, remeasure=remeasure)
    history = workbench.history(place)
    place.rename(sound)
    soft = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, soft[1]))

    def one(_number: int, draw: random.Random, _folder: Path) -> Outcome:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place, symlinks=True)
        case, began = one_of(place, draw), time.time()
        try:
            with _watched() as warned:
                again = workbench.run(experiment, store=place)
                shown = workbench.history(place, records=True)
                healed = workbench.run(experiment, store=place)
        except workbench.WorkbenchError as error:
            return Outcome(case, _is_said(case), f"{type(error).__name__}: {error.message}")
        except Exception as error:
            return Outcome(case, held=False, found=f"{type(error).__name__}: {error}")
        said = [
            row.failure.message for row in again.rows if row.failure and "Could not write to" in row.failure.message
        ]
        if said and _is_said(case):
            return Outcome(case, held=True, found=said[0])
        wrong = [*_differences(first, again, began), *_differences(first, healed, began)]
        wrong += [f"history: {reported}" for reported in _unknown(shown, history, again)]
        wrong += [f"warning: {each.message}" for each in warned]
        if healed.tally.built or healed.tally.measured or healed.tally.scored:
            wrong.append(f"not healed: the next run {healed.tally}")
        return Outcome(case, not wrong, "; ".join(wrong) or str(again.tally))

    try:
        yield one
    finally:
        resource.setrlimit(resource.RLIMIT_AS, soft)
        shutil.rmtree(root, ignore_errors=True)


def _is_said(case: str) -> bool:
    """Where a run cannot put something in the place of what lies there, one sentence is an answer."""
    return "in place" in case or "in its place" in case


def _differences(first: Any, again: Any, began: float) -> list[str]:
    """What differs from the first run but timings that were measured since ``began`` (seconds since 1970)."""
    from datetime import datetime

    from workbench.records import to_json

    found = []
    for before, after in zip(first.rows, again.rows, strict=True):
        if plain(before) != plain(after):
            reported = [name for name, value in plain(after).items() if value != plain(before)[name]]
            found.append(
                f"used: {after.row}: {', '.join(reported)} differ ({after.failure.message if after.failure else ''})"
            )
        if to_json(before.timing) != to_json(after.timing) and not (
            after.timing and datetime.fromisoformat(after.timing.measured_at).timestamp() >= int(began)
        ):
            found.append(f"used: {after.row}: a timing that was not measured")
    return found


def _unknown(shown: Any, history: Any, again: Any) -> list[str]:
    """Results in the history that no run came to."""
    columns = [name for name in history.columns if name not in ("run", "id")]
    known = {json.dumps([str(row[name]) for name in columns]) for _, row in history.iterrows()}
    new = shown[shown["run"] == again.run]
    others = shown[~shown.index.isin(new.index)]
    rows = [json.dumps([str(row[name]) for name in columns]) for _, row in others.iterrows()]
    return [f"a result that no run came to: {row}" for row in rows if row not in known][:1]


@contextlib.contextmanager
def _watched() -> Iterator[list[warnings.WarningMessage]]:
    """Interrupt what takes longer than the limit, and note the warnings of the package."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took longer than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", RuntimeWarning)
            yield found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


TRIAL = Trial("damage", session, 300, "Nothing that was changed in a store is used, and no run ends in a traceback.")

if __name__ == "__main__":
    recording.exit_with(TRIAL)
