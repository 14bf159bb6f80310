"""The index of the history: every result of every run in a SQLite file in the store, made from what the store keeps, and made again.

A run leaves one artefact, ``results/<run>``, with its rows as JSON and what it was asked for. ``results.sqlite`` beside it is an index of
those and nothing more: it is written to only by adding, several processes may do so at once, what it lacks is added when it is next
asked, and where it is damaged it is thrown away and made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from workbench.errors import StoreError, brief, writing
from workbench.locks.database import holder_of
from workbench.locks.holders import Patience
from workbench.records import Machine, from_json
from workbench.runs.whole import KIND
from workbench.store import Store

T = TypeVar("T")

FILE = "results.sqlite"
ENDINGS = ("", "-wal", "-shm", "-journal")
VERSION = 5  # of the tables below; another one found is thrown away and made again
GOAL = "the index of the history"
WAIT_S = 30.0
"""Longest wait for another process, in all."""
SLICE_S = 1.0
"""Longest wait inside of SQLite, which reports nothing at the same time."""
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
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
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last one: a table or a column is missing."""
TYPES: dict[str, Callable[[Any], Any]] = {"TEXT": str, "TEXT PRIMARY KEY": str, "INTEGER": int, "REAL": float}
"""As SQLite gives values back from a column."""
NAMES = tuple(name for name, _ in COLUMNS)
SCHEMA = f"""
CREATE TABLE results ({", ".join(" ".join(column) for column in COLUMNS)}, seal TEXT);
CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT, seal TEXT);
CREATE TABLE runs (run TEXT PRIMARY KEY, time TEXT, model TEXT, rows INTEGER, parameters TEXT, own INTEGER, imported TEXT,
    outcome TEXT, seal TEXT);
PRAGMA user_version = {VERSION};
"""
"""The JSON lies in a table of its own, so that looking through the columns does not read it. Each row ends in a signature of what
stands before it: SQLite has no checksums, and the file may have come with another user's store.
"""


def rebuild(store: Store) -> int:
    """Throw the index away and make it again from the artefacts; the number of results.

    Raises:
        StoreError: the store cannot be written.
    """
    forget(store)
    return int(ask(store, lambda index: index.execute("SELECT count(*) FROM results").fetchone())[0])


def ask(store: Store, what: Callable[[sqlite3.Connection], T]) -> T:
    """What ``what`` finds in the index with everything that the store holds; a damaged one is made again."""
    patience, ends, again = Patience(store.waiting, None, GOAL), time.monotonic() + WAIT_S, False
    while True:
        try:
            with contextlib.closing(_current(store)) as index:
                found = what(index)
        except _FalseRowError:
            if again:
                raise StoreError(f"{store.root / FILE} changes while it is read. Try again.") from None
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF in BUSY:
                _wait(store, patience, ends)
                continue
            if again or code not in DAMAGED:
                raise StoreError(
                    f"Could not use {store.root / FILE}: {brief(error)}. Try again; where that does not help, remove the "
                    "file: it is made again from the results in the store."
                ) from error
        else:
            patience.end()
            return found
        again = True
        forget(store)


def _wait(store: Store, patience: Patience, ends: float) -> None:
    """Report which process holds the index, and wait for a moment.

    Raises:
        StoreError: it is after ``ends``.
    """
    holder = holder_of([store.root / (FILE + ending) for ending in ENDINGS])
    if time.monotonic() > ends:
        raise StoreError(
            f"{store.root / FILE} has been held for {WAIT_S:.0f} s by {holder}. Let that process continue (kill -CONT), or end it, and try "
            "again. Results that are not in the file yet are added when it is next used."
        )
    patience.wait(f"{GOAL}, which {holder} holds")


def _current(store: Store) -> sqlite3.Connection:
    """Open the index, make it where there is none, and add the runs that it lacks; in memory where the store cannot be written."""
    with writing(store.root):
        store.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    writable = os.access(store.root, os.W_OK)
    if writable:
        _remove_links(store)
    if writable and store.shared:
        _open_to_group(store)
    index = sqlite3.connect(store.root / FILE if writable else ":memory:", timeout=SLICE_S, isolation_level=None)
    try:
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")  # what a power failure takes is made again
        if _version(index) != VERSION:
            with _transaction(index):
                if _version(index) != VERSION:  # another process may have made the tables since the first look
                    _make(index)
        _add_missing(index, store)
        for table in ("results", "runs"):  # a damaged page shows itself here, too
            verify(index, store, table)
    except BaseException:
        index.close()
        raise
    return index


def _add_missing(index: sqlite3.Connection, store: Store) -> None:
    known = {run for (run,) in index.execute("SELECT run FROM runs")}
    kept = store.root / KIND
    there = {folder.name for folder in kept.iterdir() if not folder.name.startswith(".")} if kept.exists() else set()
    missing = sorted(run for run in there - known if ".damaged-" not in run)
    if missing:
        with _transaction(index):
            for run in missing:
                _add(index, run, store)


def _open_to_group(store: Store) -> None:
    """Make the index writable for the group: SQLite makes a file that the group may only read, and the files beside it like that one."""
    with writing(store.root / FILE):
        os.close(os.open(store.root / FILE, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o660))
        files = [path for ending in ENDINGS if (path := store.root / (FILE + ending)).exists()]
        if not all(os.access(path, os.W_OK) for path in files):
            forget(store)  # another member's, by an earlier version
            os.close(os.open(store.root / FILE, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o660))


def _remove_links(store: Store) -> None:
    """Remove links and pipes: a link may lead to a database of another program, whose tables would be dropped."""
    for ending in ENDINGS:
        path = store.root / (FILE + ending)
        with writing(path), contextlib.suppress(FileNotFoundError):
            kind = path.lstat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                path.unlink()


class _FalseRowError(Exception):
    """A row of the index is not as it was written, or was written by another user."""


def verify(index: sqlite3.Connection, store: Store, table: str) -> None:
    """Compare every row of a table with its signature."""
    for *values, seal in index.execute(f"SELECT * FROM {table}"):  # noqa: S608 - a name from above
        if seal != _seal(store, table, values):
            raise _FalseRowError


def _seal(store: Store, table: str, values: Sequence[Any]) -> str:
    return store.keyring.signing.sign(json.dumps([table, *values]))


def _insert(index: sqlite3.Connection, store: Store, table: str, values: Sequence[Any]) -> None:
    """Add a signed row, unless there is one of this name."""
    places = ", ".join("?" * (len(values) + 1))
    index.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", [*values, _seal(store, table, values)])  # noqa: S608 - as above


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
    entry = store.entry(KIND, run, _rows)
    facts = entry.facts if entry else None
    rows: list[dict[str, Any]] = facts["rows"] if facts else []
    for row in rows:
        columns = [
            None if (value := row["columns"].get(name)) is None else TYPES[kind](value) for name, kind in COLUMNS
        ]
        _insert(index, store, "results", columns)
        _insert(index, store, "records", [row["columns"]["id"], json.dumps(row["result"])])
    about = facts.get("about", {}) if facts else {}
    asked = about.get("parameters")
    values = [
        run,
        about.get("time") or max((row["columns"]["time"] for row in rows), default=""),
        rows[0]["columns"]["model"] if rows else "",
        len(rows),
        None if asked is None else json.dumps(asked),
        int(entry is not None and entry.own),
        from_json(Machine, about["machine"]).label if about.get("imported") else "",
        json.dumps({name: about[name] for name in ("data", "wall_s", "best") if name in about}),
    ]
    _insert(index, store, "runs", values)


def _rows(facts: Any) -> None:
    """Raise what facts raise that are not those of a run; see :meth:`workbench.store.Store.entry`."""
    for row in facts["rows"]:
        [row["columns"][name] for name in ("id", "time", "model")], row["result"]
    facts.get("about", {}).get("time")


def forget(store: Store) -> None:
    """Remove the index; the next question makes it again from the runs that are there."""
    for ending in ENDINGS:
        (store.root / (FILE + ending)).unlink(missing_ok=True)
