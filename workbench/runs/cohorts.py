"""Which engines are open at once: as many as memory and a round of a few seconds allow, and the baseline among them.

A ratio is fair only between engines that took turns. Where not all of them can be open at once they are measured in cohorts, and
the baseline takes part in each: every variant is then compared with the baseline of its own cohort, and two variants of
different cohorts through the baseline only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from workbench import backends
from workbench.measure.verdict import first_baseline
from workbench.plan.measuring import timing_key
from workbench.records import EngineRecord, Result, Status, Timing
from workbench.runs.timings import recall_timing
from workbench.store import Store, key_of

KIND = "cohort"


def default_baseline(rows: Iterable[Result]) -> str:
    """Of these rows: the plain TensorFlow function, else the first FP32 variant, else the first; ``""`` of none."""
    first = first_baseline((row.spec for row in rows), backends.rank)
    return first.variant if first else ""


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
    """The baseline's row for each batch size, of several builds the first; none where it is not among these rows."""
    rows = tuple(rows)
    name = {row.spec.label: row.spec.variant for row in rows}.get(asked, asked) or default_baseline(rows)
    found: dict[int, Result] = {}
    for row in rows:
        if row.spec.variant == name:
            found.setdefault(row.batch, row)
    return found


def keep_members(store: Store, session: str, members: dict[str, str]) -> None:
    """Store the members of a session: engine keys, each with the key of its timing."""
    store.put(KIND, key_of(session=session), {"members": members})


class Grouped(Protocol):
    """Whatever knows in which session it was timed."""

    @property
    def group(self) -> str: ...


G = TypeVar("G", bound=Grouped)


def recall(
    store: Store, group: str, rows: Iterable[Result], anchor: Result | None
) -> dict[str, tuple[Timing, tuple[Timing, ...]]]:
    """What the store knows of these rows, by row: a timing, and for the baseline those of the further cohorts."""
    engines = {row.row: row.engine.key if row.engine else "" for row in rows}

    def members(session: str) -> Any:
        return store.facts(KIND, key_of(session=session), _members)

    return believed(group, engines, anchor.row if anchor else None, partial(recall_timing, store), members)


def believed(
    group: str,
    engines: Mapping[str, str],
    anchor: str | None,
    timing: Callable[[str], G | None],
    members: Callable[[str], Any],
) -> dict[str, tuple[G, tuple[G, ...]]]:
    """Which of the stored timings of a group count.

    A session is believed only as a whole: where a later one has replaced the timing of one of its members, the others did not
    take turns with what is there now. Without the baseline nothing is.

    Args:
        group: the key of the group.
        engines: by row the key of its engine.
        anchor: the baseline's row, if there is one.
        timing: what is stored under the key of a timing.
        members: what is stored of a session.
    """
    keys = {row: timing_key(group, engine) for row, engine in engines.items()}
    timings = {key: timing(key) for key in keys.values()}
    whole: dict[str, dict[str, str]] = {}
    for session in {found.group for found in timings.values() if found}:
        took_part = _members(members(session) or {})
        timings |= {key: timing(key) for key in took_part.values() if key not in timings}
        found = [timings[key] for key in took_part.values()]
        if took_part and all(one and one.group == session for one in found):
            whole[session] = took_part
    kept = {row: one for row, key in keys.items() if (one := timings[key]) and key in whole.get(one.group, {}).values()}
    if anchor is None:
        return {row: (one, ()) for row, one in kept.items()}
    own = kept.get(anchor)
    if own is None:
        return {}
    beside = {session: timings.get(took_part.get(engines[anchor], "")) for session, took_part in whole.items()}
    also = tuple(one for session, one in sorted(beside.items()) if one and session != own.group)
    comparable = {own.group, *(one.group for one in also)}
    return {row: (one, also if row == anchor else ()) for row, one in kept.items() if one.group in comparable}


def _members(facts: Any) -> dict[str, str]:
    return {str(engine): str(key) for engine, key in facts.get("members", {}).items()}


def engines_of(rows: Iterable[Result]) -> dict[str, EngineRecord]:
    """Their engines, by key, each once."""
    return {row.engine.key: row.engine for row in rows if row.engine}


def cohorts_text(rows: Iterable[Result]) -> str:
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
    """Bytes that the end of this process would give back; 0 where it has ended or the kernel does not say."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):
        return 0
