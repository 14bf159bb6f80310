"""Which engines are open at once: as many as memory and a round of a few seconds allow, and the baseline among them.

A ratio is fair only between engines that took turns. Where not all of them can be open at once they are measured in cohorts, and
the baseline takes part in each: every variant is then compared with the baseline of its own cohort, and two variants of
different cohorts through the baseline only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from workbench.records import EngineRecord, Result, Status, Timing
from workbench.runs.timings import recall_timing
from workbench.store import Store, key_of
from workbench.timing.verdict import first_baseline

KIND = "cohort"


def default_baseline(rows: Iterable[Result]) -> str:
    """Of these rows: the plain TensorFlow function, else the first FP32 variant, else the first; ``""`` of none."""
    first = first_baseline(row.spec for row in rows)
    return replace(first, batch=None).label if first else ""


def timeable(rows: Iterable[Result]) -> list[Result]:
    """Those that have been timed, or could be."""
    return [
        row
        for row in rows
        if row.engine
        and row.engine.runnable
        and (row.status == Status.BUILT or (row.status == Status.DONE and row.timing))
    ]


def anchors(rows: Iterable[Result], asked: str) -> dict[int, Result]:
    """The baseline's row for each batch size; none where it is not among these rows."""
    rows = tuple(rows)
    name = {row.spec.label: replace(row.spec, batch=None).label for row in rows}.get(asked, asked)
    return {row.batch: row for row in rows if replace(row.spec, batch=None).label == (name or default_baseline(rows))}


def timing_key(group: str, engine: str, session: str = "") -> str:
    """Key of a timing; with a session that of the baseline's in a further cohort."""
    return key_of(group=group, engine=engine, session=session) if session else key_of(group=group, engine=engine)


def keep_members(store: Store, session: str, members: dict[str, str]) -> None:
    """Store who took turns in a session: engine keys, each with the key of its timing."""
    store.put(KIND, key_of(session=session), {"members": members})


def recall(
    store: Store, group: str, rows: Iterable[Result], anchor: Result | None
) -> dict[str, tuple[Timing, tuple[Timing, ...]]]:
    """What the store knows of these rows, by row: a timing, and for the baseline those of the further cohorts.

    A session is believed only as a whole: where a later one has replaced the timing of one of its members, the others did not
    take turns with what is there now. Without the baseline nothing is.
    """
    keys = {row.row: timing_key(group, _key(row)) for row in rows}
    timings = {key: recall_timing(store, key) for key in keys.values()}
    whole: dict[str, dict[str, str]] = {}
    for session in {timing.group for timing in timings.values() if timing}:
        facts = store.facts(KIND, key_of(session=session), _members) or {}
        members = _members(facts)
        timings |= {key: recall_timing(store, key) for key in members.values() if key not in timings}
        found = [timings[key] for key in members.values()]
        if members and all(timing and timing.group == session for timing in found):
            whole[session] = members
    kept = {row: timing for row, key in keys.items() if (timing := timings[key]) and timing.group in whole}
    if anchor is None:
        return {row: (timing, ()) for row, timing in kept.items()}
    own = kept.get(anchor.row)
    if own is None:
        return {}
    beside = {session: timings.get(members.get(_key(anchor), "")) for session, members in whole.items()}
    also = tuple(timing for session, timing in sorted(beside.items()) if timing and session != own.group)
    comparable = {own.group, *(timing.group for timing in also)}
    return {
        row: (timing, also if row == anchor.row else ()) for row, timing in kept.items() if timing.group in comparable
    }


def _members(facts: Any) -> dict[str, str]:
    return {str(engine): str(key) for engine, key in facts.get("members", {}).items()}


def engines_of(rows: Iterable[Result]) -> dict[str, EngineRecord]:
    """Their engines, by key, each once."""
    return {row.engine.key: row.engine for row in rows if row.engine}


def cohorts_told(rows: Iterable[Result]) -> str:
    """What a reader has to know where not all variants of a batch size took turns with each other; ``""`` where they did."""
    sessions: dict[int, set[str]] = {}
    for row in rows:
        sessions.setdefault(row.batch, set()).update(timing.group for timing in (row.timing, *row.also) if timing)
    split = [f"{len(found)} at batch {batch}" for batch, found in sorted(sessions.items()) if len(found) > 1]
    return (
        f"The variants were measured in cohorts ({', '.join(split)}), because not all could be open at once. Each is compared "
        "with the baseline, which took part in every cohort; two of different cohorts are compared through the baseline only."
        if split
        else ""
    )


def taken(pid: int) -> int:
    """Bytes that the end of this process would give back; 0 where it has ended or nobody tells."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):
        return 0


def _key(row: Result) -> str:
    return row.engine.key if row.engine else ""
