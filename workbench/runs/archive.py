"""Every result of every run as a table that can be asked: SQLite in the store, made from what the store keeps, and made again.

A run leaves one artefact, ``results/<run>``, with its rows as JSON and what it was asked for. ``results.sqlite`` beside it is an index of those and nothing
more: it is written to only by adding, several processes may do so at once, what it lacks is added when it is next asked, and
where it is damaged it is thrown away and made again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from workbench.errors import InputError, StoreError, brief
from workbench.records import Result, Results, Status, to_json
from workbench.store import Store, key_of

if TYPE_CHECKING:
    import pandas as pd

    from workbench.experiment import Experiment

T = TypeVar("T")

KIND = "results"
FILE = "results.sqlite"
VERSION = 2  # of the tables below; another one found is thrown away and made again
WAIT_S = 30.0
KEPT = (Status.DONE, Status.FAILED, Status.BUILT)
COLUMNS = (
    ("time", "TEXT"),  # UTC, ISO 8601: when it was measured, or when the run ended
    ("model", "TEXT"),
    ("variant", "TEXT"),
    ("backend", "TEXT"),
    ("precision", "TEXT"),
    ("built", "TEXT"),
    ("batch", "INTEGER"),
    ("threads", "INTEGER"),
    ("region", "TEXT"),
    ("status", "TEXT"),
    ("p50_ms", "REAL"),
    ("p90_ms", "REAL"),
    ("p99_ms", "REAL"),
    ("samples_per_s", "REAL"),
    ("accuracy", "REAL"),  # 0 to 1
    ("agreement", "REAL"),  # 0 to 1
    ("device", "TEXT"),
    ("machine", "TEXT"),
    ("failure", "TEXT"),
    ("run", "TEXT"),
    ("id", "TEXT PRIMARY KEY"),
)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
KINDS = {name: {"REAL": "float64", "INTEGER": "int64"}.get(kind, "str") for name, kind in COLUMNS if name != "time"}
NAMES = tuple(name for name, _ in COLUMNS)
SCHEMA = f"""
CREATE TABLE results ({", ".join(" ".join(column) for column in COLUMNS)});
CREATE INDEX by_time ON results (time);
CREATE INDEX by_model ON results (model, time);
CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT);
CREATE TABLE runs (run TEXT PRIMARY KEY, time TEXT, model TEXT, rows INTEGER, parameters TEXT);
PRAGMA user_version = {VERSION};
"""
"""The JSON lies in a table of its own, so that looking through the columns does not read it."""


class Run(NamedTuple):
    """One run in the history: its name, when it ended (UTC, ISO 8601), its model's name, how many results it has, and the
    parameters of its experiment; ``None`` where a run did not note them.
    """

    name: str
    time: str
    model: str
    rows: int
    parameters: dict[str, Any] | None

    @property
    def told(self) -> str:
        """What it was about, in a line."""
        asked = self.parameters or {}
        parts = [str(asked[name]).replace(",", ", ") for name in ("backends", "precisions", "batches") if name in asked]
        return " · ".join([self.model, *parts[:2], *(f"batches {each}" for each in parts[2:])])


def remember(
    store: Store, run: str, results: Results, experiment: Experiment | None = None, *, scored_by: str = ""
) -> None:
    """Keep what a run came to, and add it to the index; ``experiment`` is what it was asked for, and ``scored_by`` the
    :func:`workbench.models.live.identity` of the function that scored instead of the experiment's metric.

    Rows that were cancelled or not possible are no results. One that was wholly taken from the store is there already.

    Raises:
        StoreError: the results cannot be written.
    """
    rows = [_record(row, results, run) for row in results.rows if row.status in KEPT]
    if not rows:
        return
    about = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": results.model.name,
        "digest": results.model.digest,
        "machine": to_json(results.machine),
        "plan": to_json(results.plan),
        "data": results.data,
        "tested": results.tested_digest,
        "calibrated": results.calibrated_digest,
        "scored_by": scored_by,
        "parameters": experiment.parameters() if experiment else None,
    }
    store.put(KIND, run, {"rows": rows, "about": about})
    # the index catches up when it is next asked; a run must not end for it
    with contextlib.suppress(StoreError):
        _ask(store, lambda _: None)


def history(
    store: Store | str | Path | None = None,
    *,
    model: str = "",
    variant: str = "",
    backend: str = "",
    precision: str = "",
    machine: str = "",
    status: str = "",
    run: str = "",
    batch: int | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    limit: int | None = None,
    records: bool = False,
) -> pd.DataFrame:
    """Results of all runs, the newest first, one row each; columns as in ``COLUMNS``, absent values missing.

    Those of the default store, or of ``store``. ``model`` to ``run`` are shell patterns (``"resnet*"``), ``batch`` is a number.
    ``since`` and ``until`` bound the time of measuring, the second excluded: ``"2026-11-01"``, a ``date`` or a ``datetime``, UTC
    unless it says otherwise. ``limit``: at most so many. ``records`` adds a column ``record``, the whole row as JSON text.

    Raises:
        InputError: a time or a limit that is none.
        StoreError: the store cannot be read.
    """
    import pandas as pd

    patterns = {"model": model, "variant": variant, "backend": backend, "precision": precision, "machine": machine,
                "status": status, "run": run}  # fmt: skip
    asked: list[tuple[str, Any]] = [(f"{name} GLOB ?", pattern) for name, pattern in patterns.items() if pattern]
    asked += [("batch = ?", batch)] if batch is not None else []
    asked += [("time >= ?", _time("since", since))] if since is not None else []
    asked += [("time < ?", _time("until", until))] if until is not None else []
    if limit is not None and limit < 1:
        raise InputError(f"'limit' must be at least 1; found {limit}.")
    columns = ", ".join(f"results.{name}" for name in NAMES)
    query = f"SELECT {columns}{', json AS record' if records else ''} FROM results"  # noqa: S608 - names from above
    query += " JOIN records USING (id)" if records else ""
    query += f" WHERE {' AND '.join(condition for condition, _ in asked)}" if asked else ""
    query += " ORDER BY time DESC, results.rowid DESC" + (" LIMIT ?" if limit is not None else "")
    values = [value for _, value in asked] + ([limit] if limit is not None else [])
    where = Store.of(store)
    rows = _ask(where, lambda index: index.execute(query, values).fetchall())
    frame = pd.DataFrame(rows, columns=[*NAMES, *(["record"] if records else [])])
    return frame.astype(KINDS).assign(time=pd.to_datetime(frame["time"], utc=True))


def runs(store: Store, limit: int | None = None) -> tuple[Run, ...]:
    """All runs that came to a result, the newest first, those made without a panel too; ``limit``: at most so many.

    Raises:
        StoreError: the store cannot be read.
    """
    query = "SELECT run, time, model, rows, parameters FROM runs WHERE rows > 0 ORDER BY time DESC, run DESC LIMIT ?"
    found = _ask(store, lambda index: index.execute(query, [-1 if limit is None else limit]).fetchall())
    return tuple(
        Run(name, time, model, rows, None if asked is None else json.loads(asked))
        for name, time, model, rows, asked in found
    )


def scored_by(store: Store, run: str) -> str:
    """Name and digest of the function that scored a run instead of its experiment's metric; "" where there was none."""
    facts = store.facts(KIND, run) or {}
    return str(facts.get("about", {}).get("scored_by", ""))


def rebuild(store: Store) -> int:
    """Throw the index away and make it again from the artefacts; the number of results.

    Raises:
        StoreError: the store cannot be written.
    """
    _discard(store)
    return int(_ask(store, lambda index: index.execute("SELECT count(*) FROM results").fetchone())[0])


def _ask(store: Store, what: Callable[[sqlite3.Connection], T]) -> T:
    """What ``what`` finds in the index with everything that the store holds; a damaged one is made again."""
    for last in (False, True):
        try:
            with contextlib.closing(_current(store)) as index:
                return what(index)
        except sqlite3.Error as error:
            if last or getattr(error, "sqlite_errorcode", None) not in DAMAGED:
                raise StoreError(
                    f"Could not use {store.root / FILE}: {brief(error)}. Try again; where that does not help, remove the "
                    "file: it is made again from the results in the store."
                ) from error
            _discard(store)
    raise AssertionError


def _current(store: Store) -> sqlite3.Connection:
    """Open the index, make it where there is none, and add the runs that it lacks."""
    store.root.mkdir(parents=True, exist_ok=True)
    index = sqlite3.connect(store.root / FILE, timeout=WAIT_S, isolation_level=None)
    try:
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")  # what a power failure takes is made again
        if _version(index) != VERSION:
            with _transaction(index):
                if _version(index) != VERSION:  # nobody else has made them meanwhile
                    _make(index)
        known = {run for (run,) in index.execute("SELECT run FROM runs")}
        kept = store.root / KIND
        there = (
            {folder.name for folder in kept.iterdir() if not folder.name.startswith(".")} if kept.exists() else set()
        )
        missing = sorted(run for run in there - known if ".damaged-" not in run)
        if missing:
            with _transaction(index):
                for run in missing:
                    _add(index, run, store)
        index.execute(
            "SELECT * FROM results ORDER BY rowid DESC LIMIT 1"
        ).fetchone()  # a damaged page shows itself here
    except BaseException:
        index.close()
        raise
    return index


def _make(index: sqlite3.Connection) -> None:
    for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        index.execute(f'DROP TABLE "{name}"')
    for statement in SCHEMA.split(";"):
        index.execute(statement)


def _version(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.execute("ROLLBACK")
        raise
    index.execute("COMMIT")


def _add(index: sqlite3.Connection, run: str, store: Store) -> None:
    """Add the rows of one run; a run whose artefact is damaged has none."""
    facts = store.facts(KIND, run)
    rows: list[dict[str, Any]] = facts["rows"] if facts else []
    places = ", ".join("?" * len(NAMES))
    for row in rows:
        columns = [row["columns"].get(name) for name in NAMES]
        index.execute(f"INSERT OR IGNORE INTO results VALUES ({places})", columns)  # noqa: S608 - question marks
        index.execute("INSERT OR IGNORE INTO records VALUES (?, ?)", (row["columns"]["id"], json.dumps(row["result"])))
    about = facts.get("about", {}) if facts else {}
    asked = about.get("parameters")
    columns = [
        run,
        about.get("time") or max((row["columns"]["time"] for row in rows), default=""),
        rows[0]["columns"]["model"] if rows else "",
        len(rows),
        None if asked is None else json.dumps(asked),
    ]
    index.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", columns)


def _discard(store: Store) -> None:
    for ending in ("", "-wal", "-shm"):
        (store.root / (FILE + ending)).unlink(missing_ok=True)


def _record(row: Result, results: Results, run: str) -> dict[str, Any]:
    """A row as JSON: its columns, and all of it but the durations, which have a file of their own."""
    timing, score = row.timing, row.accuracy
    columns: dict[str, Any] = {
        "time": timing.measured_at if timing else datetime.now(UTC).isoformat(timespec="seconds"),
        "model": results.model.name,
        "variant": row.spec.label,
        "backend": row.spec.backend_and_mode,
        "precision": str(row.spec.precision),
        "built": row.engine.realized.label if row.engine else None,
        "batch": row.batch,
        "threads": row.spec.threads,
        "status": str(row.status),
        "device": row.device,
        "machine": results.machine.label,
        "failure": row.failure.message if row.failure else None,
        "run": run,
    }
    if timing:
        percentiles = {f"p{percent}_ms": timing.percentile_s(percent) for percent in (50, 90, 99)}
        columns |= {name: None if value is None else value * 1e3 for name, value in percentiles.items()}
        columns |= {"samples_per_s": timing.samples_per_s, "region": str(timing.region)}
    if score:
        columns |= {"accuracy": score.value, "agreement": score.agreement}
    columns["id"] = key_of(
        model=results.model.digest,
        engine=row.engine.key if row.engine else to_json(row.spec),
        variant=row.spec.label,
        batch=row.batch,
        session=timing.group if timing else run if row.failure else "",
        accuracy=to_json(score),
    )
    bare = replace(row, timing=replace(timing, blocks=(), warm_up_ns=()) if timing else None, also=())
    return {
        "columns": columns,
        "result": to_json(bare),
        # these cannot be had of the record alone, whose durations may be measured anew some day
        "typical": timing.typical_median_s if timing else None,
    }


def _time(name: str, value: str | date) -> str:
    """As the column has it: UTC, to the second."""
    try:
        parsed = datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
    except ValueError:
        raise InputError(
            f"'{name}' must be a date or a time, such as 2026-11-26 or 2026-11-26T14:30; found '{value}'."
        ) from None
    return (parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat(timespec="seconds")
