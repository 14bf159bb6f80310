"""The history of a store: what a run leaves there, and every result of every run as a table that can be asked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.errors import InputError, StoreError
from workbench.errors.printable import one_line
from workbench.records import Result, Results, to_json
from workbench.runs import pace
from workbench.runs.index import COLUMNS, NAMES, ask, verify
from workbench.runs.whole import KEPT, KIND, bare, whole_of
from workbench.store import Store, key_of

if TYPE_CHECKING:
    import pandas as pd

    from workbench.settings.experiment import Experiment

KINDS = {name: {"REAL": "float64", "INTEGER": "int64"}.get(kind, "str") for name, kind in COLUMNS if name != "time"}


class BestOfBatch(NamedTuple):
    """The result of one batch size: the label of the row that is shown to be faster than the baseline, "" where none is, and a sentence."""

    batch: int
    label: str
    text: str


class Outcome(NamedTuple):
    """What a run noted of its results: the samples, the seconds from its start to its end, and the best row of each batch size.

    Runs of earlier versions noted less.
    """

    data: str = ""
    wall_s: float | None = None
    best: tuple[BestOfBatch, ...] = ()

    @classmethod
    def of(cls, noted: dict[str, Any]) -> Outcome:
        """From what :func:`facts_of_run` keeps."""
        best = (
            BestOfBatch(int(batch), one_line(label), one_line(text)) for batch, label, text in noted.get("best", ())
        )
        return cls(one_line(str(noted.get("data", ""))), noted.get("wall_s"), tuple(best))


class Run(NamedTuple):
    """One run in the history: its name, when it ended (UTC, ISO 8601), its model's name, how many results it has, and the
    parameters of its experiment; ``None`` where a run did not note them. ``imported`` is the machine of a run that was measured on another
    one and imported; "" for others.
    """

    name: str
    time: str
    model: str
    rows: int
    parameters: dict[str, Any] | None
    imported: str = ""
    outcome: Outcome = Outcome()

    @property
    def summary(self) -> str:
        """Model, backends, precisions and batches in one line."""
        return " · ".join(filter(None, [self.model, self.settings]))

    @property
    def settings(self) -> str:
        """Backends, precisions and batches in one line, and the machine of an imported run."""
        asked = self.parameters or {}
        parts = [str(asked[name]).replace(",", ", ") for name in ("backends", "precisions", "batches") if name in asked]
        where = [f"imported: measured on {self.imported}"] if self.imported else []
        return " · ".join([*parts[:2], *(f"batches {each}" for each in parts[2:]), *where])


def remember(
    store: Store, run: str, results: Results, experiment: Experiment | None = None, *, scored_by: str = ""
) -> None:
    """Keep the results of a run, and add them to the index; ``experiment`` is what was requested, and ``scored_by`` the
    :func:`workbench.models.live.identity` of the function that scored instead of the experiment's metric.

    Rows that were cancelled or not possible are not results. One that was wholly taken from the store is there already.

    Raises:
        StoreError: the results cannot be written.
    """
    if not any(row.status in KEPT for row in results.rows):
        return
    facts = facts_of_run(
        results,
        run,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters=experiment.parameters() if experiment else None,
        scored_by=scored_by,
        used=sorted(store.used),
        **pace.noted(results),
    )
    store.put(KIND, run, facts)
    # the index catches up when it is next asked; a run must not end for it
    with contextlib.suppress(StoreError):
        ask(store, lambda _: None)


def facts_of_run(results: Results, run: str, *, judged: bool = True, **about: Any) -> dict[str, Any]:
    """What the store keeps of a run, as JSON; ``about`` are facts besides those of the results: when it ended and what it was asked for.

    ``judged``: with the best of each batch size, which the history shows and which takes a second or two to find.
    """
    found = {
        "model": results.model.name,
        "digest": results.model.digest,
        "machine": to_json(results.machine),
        "plan": to_json(results.plan),
        "data": results.data,
        "tested": results.tested_digest,
        "calibrated": results.calibrated_digest,
        "wall_s": results.tally.wall_s,
        "best": _best(results) if judged else [],
    }
    rows = [_record(row, results, run) for row in results.rows if row.status in KEPT]
    return {"rows": rows, "about": found | about, "whole": whole_of(results)}


def _best(results: Results) -> list[BestOfBatch]:
    """One for each batch size; nothing where the rows cannot be compared, for which a run must not be lost."""
    try:
        found = results.headlines()
    except InputError:
        return []
    return [BestOfBatch(each.batch, each.row.spec.label if each.row and each.won else "", each.text) for each in found]


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

    Example: ``history(model="resnet*", batch=1, since="2026-11-01")``
    """
    import pandas as pd

    patterns = {"model": model, "variant": variant, "backend": backend, "precision": precision, "machine": machine,
                "status": status, "run": run}  # fmt: skip
    asked: list[tuple[str, Any]] = [(f"{name} GLOB ?", pattern) for name, pattern in patterns.items() if pattern]
    asked += [("batch = ?", batch)] if batch is not None else []
    asked += [("time >= ?", _time("since", since))] if since is not None else []
    asked += [("time < ?", _time("until", until))] if until is not None else []
    query, values = _query(asked, limit, records=records)
    where = Store.of(store)

    def asked_of(index: sqlite3.Connection) -> list[Any]:
        if records:
            verify(index, where, "records")
        return index.execute(query, values).fetchall()

    frame = pd.DataFrame(ask(where, asked_of), columns=[*NAMES, *(["record"] if records else [])])
    for name in KINDS.keys() & frame.columns:
        if KINDS[name] == "str":
            frame[name] = frame[name].map(one_line, na_action="ignore")
    return frame.astype(KINDS).assign(time=pd.to_datetime(frame["time"], utc=True))


def _query(asked: list[tuple[str, Any]], limit: int | None, *, records: bool) -> tuple[str, list[Any]]:
    """The question to the index for these conditions with their values, and the values in the order of the question."""
    if limit is not None and limit < 1:
        raise InputError(f"'limit' must be at least 1; found {limit}.")
    columns = ", ".join(f"results.{name}" for name in NAMES)
    query = f"SELECT {columns}{', json AS record' if records else ''} FROM results"  # noqa: S608 - names from above
    query += " JOIN records USING (id)" if records else ""
    query += f" WHERE {' AND '.join(condition for condition, _ in asked)}" if asked else ""
    query += " ORDER BY time DESC, results.rowid DESC" + (" LIMIT ?" if limit is not None else "")
    return query, [value for _, value in asked] + ([limit] if limit is not None else [])


def runs(store: Store, limit: int | None = None) -> tuple[Run, ...]:
    """All runs with results, the newest first, including those made without a panel; ``limit``: the most runs.

    Raises:
        StoreError: the store cannot be read.
    """
    query = "SELECT run, time, model, rows, parameters, imported, outcome FROM runs WHERE rows > 0 ORDER BY time DESC, run DESC LIMIT ?"
    found = ask(store, lambda index: index.execute(query, [-1 if limit is None else limit]).fetchall())
    return tuple(
        Run(
            one_line(name),
            time,
            one_line(model),
            rows,
            None if asked is None else json.loads(asked),
            one_line(imported),
            Outcome.of(json.loads(outcome)),
        )
        for name, time, model, rows, asked, imported, outcome in found
    )


def not_own(store: Store) -> int:
    """How many runs in the history were not signed with the user's key, because another user, another machine or an earlier version made them.

    Raises:
        StoreError: the store cannot be read.
    """
    query = "SELECT count(*) FROM runs WHERE rows > 0 AND NOT own"
    return int(ask(store, lambda index: index.execute(query).fetchone())[0])


LATEST = "latest"
"""Stands for the name of the newest run, wherever a run is named."""


def find(name: str, known: Sequence[Run]) -> str:
    """The name of the run that ends so, or of the newest for :data:`LATEST`; ``known`` are the newest first.

    Raises:
        InputError: there is none, or several end so.
    """
    if name == LATEST and known:
        return known[0].name
    if not known:
        raise InputError(
            f"There is no run in the store yet, and so no '{name}'. Run an experiment first, or set --store (in Python: store=...)."
        )
    found = [run.name for run in known if run.name == name] or [run.name for run in known if run.name.endswith(name)]
    if len(found) == 1 and name:
        return found[0]
    what = "Several runs end" if found and name else "There is no run that ends"
    newest = ", ".join(run.name for run in known[:5]) or "none"
    raise InputError(
        f"{what} in '{name}'. Choose from the history; the newest runs are: {newest}; '{LATEST}' is the first of them."
    )


def scored_by(store: Store, run: str) -> str:
    """Name and digest of the function that scored a run instead of its experiment's metric; "" where there was none."""
    facts = store.facts(KIND, run) or {}
    return str(facts.get("about", {}).get("scored_by", ""))


def _record(row: Result, results: Results, run: str) -> dict[str, Any]:
    """A row as JSON: its columns, and all of it but the durations, which have a file of their own."""
    timing, score = row.timing, row.accuracy
    columns: dict[str, Any] = {
        "time": timing.measured_at if timing else datetime.now(UTC).isoformat(timespec="seconds"),
        "model": results.model.name,
        "variant": row.spec.label,
        "backend": row.spec.address,
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
    return {
        "columns": columns,
        "result": to_json(bare(row)),
        # the record alone is not enough: its durations may be measured again later
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
