"""Runs travel: a run of the history becomes one file, which another store takes in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import InputError, WorkbenchError
from workbench.errors.printable import one_line
from workbench.models.inspection import digest_of
from workbench.models.original import path_of
from workbench.records import Results, Timing, from_json, to_json
from workbench.runs import run_file
from workbench.runs.archive import facts_of_run, find, runs
from workbench.runs.open_run import facts_of, kept_results
from workbench.runs.served import with_served
from workbench.runs.timings import as_npy, emptied
from workbench.runs.whole import GONE, KIND, SAMPLES, bare, taken, timings_in, with_durations
from workbench.settings.output_files import check_output
from workbench.store import Store

NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


class Exported(NamedTuple):
    """A file that was written."""

    run: str
    path: Path
    size_bytes: int
    model: bool  # whether the model is in it


class Imported(NamedTuple):
    """A run that a store has taken in."""

    run: str
    results: Results
    new: bool  # False: the store had it
    model: Path | None = None  # the model's copy in the store; None where the file had none


def export_run(
    name: str, file: str | Path, store: Store | str | Path | None = None, *, with_model: bool = False
) -> Exported:
    """Write a run of the history as one file, with every duration, its settings and its machine; without the samples of the data.

    Args:
        name: as in the column "run" of :func:`workbench.history`, its last letters, or "latest".
        file: the file to write, which ends in ``.wbrun``.
        store: the store, or its path; the default store where none is given.
        with_model: put the model into the file as well, from the copy in the store.

    Raises:
        InputError: there is no such run, an earlier version kept it, or some of its durations are no longer in the store.
        StoreError: the file cannot be written.

    Example::

        workbench.export_run("f3a9c1", "h200.wbrun")
    """
    place, path = Store.of(store), Path(file)
    check_output(path, option="--export", endings=(run_file.ENDING,), written_here=run_file.begins_so)
    run = find(name, runs(place))
    facts = facts_of(run, place)
    results = with_served(kept_results(run, place), run, place)
    rows_timed = sum(row["result"]["timing"] is not None for row in facts["rows"])
    if len(results.measured) < rows_timed:
        raise InputError(
            f"The run {run} cannot be exported: the durations of {rows_timed - len(results.measured)} of its rows cannot be read: {GONE}. "
            "Otherwise measure it again."
        )
    model = _model_files(results, place) if with_model else {}
    durations = [part for timing in timings_in(results) for part in emptied(timing)[1]]
    run_file.write(path, _as_json(run, facts, results), as_npy(durations), model)
    return Exported(run, path, path.stat().st_size, bool(model))


def _as_json(run: str, facts: Any, results: Results) -> dict[str, Any]:
    about = facts["about"]
    without = {id(timing): replace(timing, blocks=(), warm_up_ns=()) for timing in timings_in(results)}
    rows = tuple(replace(bare(row), also=tuple(without[id(timing)] for timing in row.also)) for row in results.rows)
    # without the warning that opening an imported run has added
    own = tuple(text for text in results.warnings if not results.imported or results.imported not in text)
    plain = replace(results, rows=rows, imported="", warnings=own)
    return {
        "run": run,
        "time": about["time"],
        "parameters": about["parameters"],
        "scored_by": about.get("scored_by", ""),
        "results": to_json(plain),
        "timings": [emptied(timing)[0] for timing in timings_in(results)],
    }


def _model_files(results: Results, store: Store) -> dict[str, Path]:
    """The files of the model's copy by their names below ``model/``."""
    whole = path_of(results.model, store)
    files = [whole] if whole.is_file() else []
    files += [each for each in sorted(whole.parent.rglob("*")) if each.is_file() and each != whole]
    return {each.relative_to(whole.parent).as_posix(): each for each in files}


def import_run(file: str | Path, store: Store | str | Path | None = None) -> Imported:
    """Take a run from a file into a store. It is shown in the history with the machine that it was measured on, and its timings are never
    taken for measurements of this machine.

    Names, sizes and digests of the file's parts are checked, records are read as data, and all that follows from them (the history's
    columns) is computed again here. Only then the entry is signed with this user's key.

    Raises:
        InputError: the file is missing, damaged, made by a later version, or holds what such a file never holds; or the store has
            another run of this name.
        StoreError: the store cannot be written.

    Example::

        results = workbench.import_run("h200.wbrun").results
    """
    path, place = Path(file), Store.of(store).prepare()
    with run_file.opened(path) as archive:
        content = archive.run
        run = _name(content, path)
        if place.has(KIND, run):
            return _there(run, content, path, place)
        with place.create(KIND, run) as draft:
            archive.extract(draft.folder, samples_as=SAMPLES)
            results = checked_results(content, draft.folder / SAMPLES, path)
            if archive.model and digest_of(_model_in(draft.folder)) != results.model.digest:
                raise InputError(f"The model in '{path}' is not the one that its run measured. Export the run again.")
            about = _about(content, path)
            draft.facts = facts_of_run(results, run, **about) | {"timings": content["timings"]}
    return Imported(run, kept_results(run, place), True, _kept_model(place.path(KIND, run)))


def _name(content: Any, path: Path) -> str:
    """The name of the run; it becomes a folder's name."""
    found = content.get("run") if isinstance(content, dict) else None
    if not isinstance(found, str) or not NAME.fullmatch(found):
        raise InputError(f"The run's file '{path}' is damaged or was changed: its run has no valid name.")
    return found


def _there(run: str, content: Any, path: Path, store: Store) -> Imported:
    """A run that the store has: the same one, or another of the same name."""
    kept = kept_results(run, store)
    rows = [to_json(replace(bare(row), reused=False)) for row in kept.rows]
    other = [to_json(replace(bare(row), reused=False)) for row in _records(content, path).rows]
    if rows != other:
        raise InputError(
            f"The store has another run named {run} than the one in '{path}'. Remove that one, or import into another store."
        )
    return Imported(run, kept, False, _kept_model(store.path(KIND, run)))


def _records(content: Any, path: Path) -> Results:
    try:
        found = from_json(Results, content["results"])
        notes, warnings = (tuple(map(one_line, texts)) for texts in (found.notes, found.warnings))
        return replace(found, imported="", notes=notes, warnings=warnings)
    except Exception as cause:  # the converter raises groups of whatever the fields raise
        raise _unreadable(path) from cause


def checked_results(content: Any, samples: Path, path: Path) -> Results:
    """The results with their durations, each of which is used once, so that nothing of another kind is kept.

    Raises:
        InputError: they are not the results of a run.
    """
    results = _records(content, path)
    try:
        timings = taken(content["timings"], samples)
        whole, lost = with_durations(results, timings)
        if lost or not whole.rows:
            raise ValueError("rows without their durations")
        for timing in timings.values():
            _check_timing(timing)
        whole.table()
    except WorkbenchError:
        raise
    except Exception as cause:
        raise _unreadable(path) from cause
    return whole


def _check_timing(timing: Timing) -> None:
    if not timing.blocks or not all(len(block.samples_ns) for block in timing.blocks) or not timing.median_s > 0:
        raise ValueError("a timing without durations")


def _about(content: Any, path: Path) -> dict[str, Any]:
    """What was asked for, as the history keeps it."""
    asked, at, by = content.get("parameters"), content.get("time"), content.get("scored_by", "")
    plain = asked is None or (
        isinstance(asked, Mapping)
        and all(isinstance(name, str) and isinstance(value, str | int | float) for name, value in asked.items())
    )
    try:
        when = datetime.fromisoformat(at).astimezone(UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError) as cause:
        raise _unreadable(path) from cause
    if not plain or not isinstance(by, str):
        raise _unreadable(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "time": when,
        "parameters": dict(asked) if asked else None,
        "scored_by": one_line(by),
        "imported": {"at": now, "sha256": digest},
    }


def _model_in(folder: Path) -> Path:
    """The model's own file or folder: weights of an ONNX file may lie beside it."""
    inside = sorted((folder / "model").iterdir())
    onnx = [each for each in inside if each.suffix.lower() == ".onnx"]
    return (onnx or inside)[0]


def _kept_model(folder: Path) -> Path | None:
    return _model_in(folder) if (folder / "model").is_dir() else None


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"The run's file '{path}' holds records that this version cannot read. It was made by another version, or was changed."
    )
