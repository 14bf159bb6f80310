"""Stores that another user made or changed, with another key: nothing of them is used, nothing outside is written, nothing runs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import recording
import stores
import trial_model
from kill import wrong_results
from recording import One, Outcome, Trial
from reports import PROGRAM, program

Change = Callable[[Path, Path], None]


def _signed_again(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the facts of an artefact and sign it with the key that is in use, as its maker would."""
    from workbench.store.keys import keyring
    from workbench.store.manifest import written

    manifest = json.loads((folder / "manifest.json").read_text())
    facts = manifest["facts"]
    change(facts)
    text = written(folder, folder.parent.name, folder.name, facts, keyring(folder.parents[1]), manifest.get("made", {}))
    (folder / "manifest.json").write_text(text)


def _halved(value: object) -> object:
    """Numbers from 0 to 1 halved, to any depth."""
    if isinstance(value, dict):
        return {name: _halved(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_halved(each) for each in value]
    return value / 2 if isinstance(value, float) and 0 < value <= 1 else value


def other_accuracies(store: Path, _target: Path) -> None:
    for folder in (store / "accuracy").iterdir():
        _signed_again(folder, lambda facts: facts.update(dict(_halved(facts))))  # type: ignore[call-overload]


def other_timings(store: Path, _target: Path) -> None:
    for folder in (store / "timing").iterdir():
        _signed_again(folder, lambda facts: facts.update(dict(_halved(facts))))  # type: ignore[call-overload]


def other_engine(store: Path, _target: Path) -> None:
    """An engine of other weights."""
    for folder in (store / "engine").iterdir():
        trial_model.write_model(folder / "engine.onnx", seed=99)
        _signed_again(folder, lambda _: None)


def other_model(store: Path, _target: Path) -> None:
    """A prepared model of other weights."""
    for folder in (store / "onnx").iterdir():
        trial_model.write_model(folder / "model.onnx", seed=99)
        _signed_again(folder, lambda _: None)


def other_original(store: Path, _target: Path) -> None:
    """A copy of the user's model with other weights."""
    for folder in (store / "original").iterdir():
        trial_model.write_model(next((folder / "files").iterdir()), seed=99)
        _signed_again(folder, lambda _: None)


def other_samples(store: Path, _target: Path) -> None:
    for folder in (store / "samples").iterdir():
        with contextlib.suppress(OSError):
            trial_model.write_data(folder / "samples.npz", seed=99)
        _signed_again(folder, lambda _: None)


def own_key_inside(store: Path, _target: Path) -> None:
    """The key that signed everything lies in the store, as in a shared one."""
    shutil.copy(os.environ["WORKBENCH_KEY"], store / "store.key")


def acting_names(store: Path, _target: Path) -> None:
    """Results with names that would act on a page or a terminal."""

    def change(facts: dict[str, object]) -> None:
        rows = facts["rows"]
        assert isinstance(rows, list)
        rows[0]["columns"]["model"] = "<img src=x onerror=alert(1)>\x1b[2J\n"

    for folder in (store / "results").iterdir():
        _signed_again(folder, change)
    (store / "results.sqlite").unlink()


def _link(name: str) -> Change:
    def change(store: Path, target: Path) -> None:
        shutil.rmtree(store / name, ignore_errors=True)
        (store / name).symlink_to(target)

    change.__name__ = f"{name} is a link to a folder elsewhere"
    return change


def index_is_a_link(store: Path, target: Path) -> None:
    """The index of the history is a link to a database of another program."""
    for path in store.glob("results.sqlite*"):
        path.unlink()
    with contextlib.closing(sqlite3.connect(target / "bookmarks.sqlite")) as database:
        database.execute("CREATE TABLE bookmarks (address TEXT)")
        database.commit()
    (store / "results.sqlite").symlink_to(target / "bookmarks.sqlite")


def locks_are_links(store: Path, target: Path) -> None:
    """Every lock file is a link to a file of the user's."""
    names = [f"{folder.parent.name}-{folder.name}.lock" for folder in stores.artefacts(store)]
    shutil.rmtree(store / "locks", ignore_errors=True)
    (store / "locks").mkdir()
    for name in names:
        (store / "locks" / name).symlink_to(target / "notes.txt")


def module_beside(store: Path, target: Path) -> None:
    """Modules with the names of libraries lie in the current folder."""
    for name in ("onnx", "onnxruntime", "cattrs", "tokenize", "sitecustomize", "usercustomize"):
        (store.parent / f"{name}.py").write_text(f"open({str(target / 'ran')!r}, 'w')\n")


def settings_of_libraries(store: Path, target: Path) -> None:
    """Settings of libraries in the cache, which name a module to import."""
    for name, content in (
        ("matplotlib/matplotlibrc", "backend: module://planted"),
        ("keras/keras.json", '{"backend": "planted"}'),
    ):
        (store / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (store / "cache" / name).write_text(content)
    (store.parent / "planted.py").write_text(f"open({str(target / 'ran')!r}, 'w')\n")


CHANGES: tuple[Change, ...] = (
    other_accuracies, other_timings, other_engine, other_model, other_original, other_samples, own_key_inside, acting_names,
    *map(_link, ("runs", "logs", "cache", "locks", "jobs")), index_is_a_link, locks_are_links, module_beside,
    settings_of_libraries,
)  # fmt: skip


def _run(model: Path, data: Path, store: Path, key: Path) -> subprocess.CompletedProcess[str]:
    asked = trial_model.SETTINGS | {"model": str(model), "data": str(data)}
    words = program(asked, store)
    env = {**os.environ, "WORKBENCH_KEY": str(key), "PYTHONSAFEPATH": "1"}
    return subprocess.run(words, env=env, cwd=store.parent, capture_output=True, text=True, timeout=600, check=False)


def _content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in sorted(folder.iterdir()) if path.is_file()}


@contextlib.contextmanager
def session() -> Iterator[One]:
    root = Path(tempfile.mkdtemp(prefix="foreign-"))
    model, data = trial_model.write_model(root / "m.onnx"), trial_model.write_data(root / "d.npz")
    theirs = root / "their-key"
    made = _run(model, data, root / "store", theirs)
    assert made.returncode == 0, made.stderr

    def one(number: int, _draw: random.Random, place: Path) -> Outcome:
        change, target = CHANGES[number % len(CHANGES)], place / "target"
        name = change.__name__.replace("_", " ")
        target.mkdir()
        (target / "notes.txt").write_text("notes\n")
        store = place / "store"
        shutil.copytree(root / "store", store, symlinks=True)
        os.environ["WORKBENCH_KEY"] = str(theirs)
        change(store, target)
        os.environ["WORKBENCH_KEY"] = str(place / "own-key")
        before, link = _content(target), [path for path in store.iterdir() if path.is_symlink() and path.is_dir()]
        ran = _run(model, data, store, place / "own-key")
        after = _content(target)
        faults = [f"changed or removed elsewhere: {name}" for name, text in before.items() if after.get(name) != text]
        faults += [f"written elsewhere: {name}" for name in after if name not in before and not link]
        faults += ["something ran"] if (target / "ran").exists() else []
        if ran.returncode == 0:
            faults += wrong_results(store, rows=1)
            faults += [] if "reused 1" not in ran.stdout else [f"something was used: {ran.stdout.splitlines()[-1]}"]
        elif "Traceback" in ran.stderr or "workbench: " not in ran.stderr:
            faults.append(f"ended with {ran.returncode}: {ran.stderr[-300:]}")
        shown = subprocess.run(
            [sys.executable, "-P", "-m", "workbench", "history", "--store", str(store)],
            capture_output=True, text=True, cwd=place, check=False,
        )  # fmt: skip
        faults += ["history: an escape sequence"] if "\x1b" in shown.stdout else []
        faults += [f"history: {shown.stderr[-300:]}"] if "Traceback" in shown.stderr else []
        return Outcome(name, not faults, "; ".join(faults) or ran.stdout.strip()[-160:] or ran.stderr[-160:])

    assert PROGRAM
    try:
        yield one
    finally:
        shutil.rmtree(root, ignore_errors=True)


TRIAL = Trial(
    "foreign_stores",
    session,
    len(CHANGES),
    "Nothing of a store that another user made is used, and it changes nothing elsewhere.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)
