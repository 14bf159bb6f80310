"""Checkpoints: what a session of measuring has found, stored after each of its launches, so that a later run goes on from there.

Each launch is one artefact, with what it added: the blocks of its variants, and the whole record of those that ended. Nothing is replaced,
so that a run that is killed at any moment leaves complete launches only. A timing is published after the checkpoint that holds it. With the
list of the session's members, by which it counts (:mod:`workbench.runs.cohorts`), its checkpoints are not needed any more.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from workbench.errors import writing
from workbench.locks.making import alone_at
from workbench.plan.measuring import timing_key
from workbench.records import Timing
from workbench.runs.cohorts import KIND as COHORT
from workbench.runs.cohorts import keep_members
from workbench.runs.timings import SAMPLES, as_npy, emptied, keep_timing, read_together, recall_timing
from workbench.store import Store, key_of
from workbench.store.draft import discard

KIND = "checkpoint"


@dataclass(frozen=True)
class KeptMember:
    """A variant in a checkpoint, with its timing: all that is known of it where it has ended, else so far."""

    timing: Timing
    ended: bool
    again: bool  # the baseline, in a further cohort


@dataclass(frozen=True)
class Checkpoint:
    """A session after so many launches and rounds; ``members`` and the baseline ``anchor`` ("" for none) are named by their engine's key."""

    session: str
    launches: int
    rounds: int
    anchor: str
    members: Mapping[str, KeptMember]
    after: str = ""  # the ``mark`` of the launch before, so that launches of two attempts are not put together
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return all(member.ended for member in self.members.values())


def checkpoint_key(group: str, launch: int) -> str:
    """The key of what a launch of a group added, numbered from 0."""
    return key_of(checkpoint=group, launch=launch)


@contextmanager
def alone(store: Store, group: str) -> Iterator[bool]:
    """Keep other processes from going on with the sessions of this group; gives ``False`` where another one does so now."""
    path = store.root / "locks" / f"{KIND}-{group}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(path, f"measuring in the store {store.root}", made=lambda: True) as ours:
        yield ours


def keep(store: Store, group: str, now: Checkpoint) -> None:
    """Store what the last launch added; ``now.members`` are those that took part in it, with their whole timings.

    Raises:
        StoreError: it cannot be written.
    """
    launch = now.launches - 1
    records, parts = [], []
    for engine, member in now.members.items():
        facts, durations = emptied(_of_launch(member.timing, launch))
        records.append({"engine": engine, "ended": member.ended, "again": member.again, **facts})
        parts += durations
    key = checkpoint_key(group, launch)
    with store.create(KIND, key) as draft:
        with writing(draft.folder):
            (draft.folder / SAMPLES).write_bytes(as_npy(parts))
        draft.facts = {
            "session": now.session,
            "rounds": now.rounds,
            "anchor": now.anchor,
            "members": records,
            "after": now.after,
            "mark": now.mark,
        }
    store.used.discard(f"{KIND}/{key}")  # results do not need it


def load(store: Store, group: str) -> Checkpoint | None:
    """The session of this group that has not ended, as it was after its last launch; ``None`` where there is no sound one."""
    found: Checkpoint | None = None
    for launch in count():
        part = _read(store, group, launch)
        if part is None or part.after != (found.mark if found else ""):
            return found
        found = _with(found, part) if found else part
    return found


def remove(store: Store, group: str) -> None:
    """Remove the checkpoints of this group, the last one first: what is left by a kill is what was there after fewer launches."""
    folders = (store.path(KIND, checkpoint_key(group, launch)) for launch in count())
    for folder in reversed(list(takewhile(os.path.lexists, folders))):
        store.used.discard(f"{KIND}/{folder.name}")
        with suppress(OSError):  # of another user of a shared store, and so of another session
            discard(folder)


def begin_anew(store: Store, group: str) -> None:
    """Forget the session of this group that has not ended, unless another process measures it now."""
    with alone(store, group) as ours:
        if ours:
            remove(store, group)


def finish(store: Store, group: str) -> None:
    """End the session of this group if all is measured, as a process that was killed after its last launch would have done."""
    if not store.has(KIND, checkpoint_key(group, 0)):
        return
    with alone(store, group) as ours:
        found = load(store, group) if ours else None
        listed = found is not None and store.has(COHORT, key_of(session=found.session))
        if found and (found.complete or listed):
            if not listed:
                kept = {engine: publish(store, group, engine, member)[0] for engine, member in found.members.items()}
                keep_members(store, found.session, kept)
            remove(store, group)


def publish(store: Store, group: str, engine: str, member: KeptMember) -> tuple[str, Timing]:
    """Store the timing of a variant that has ended, unless it is there; its key, and the timing."""
    key = timing_key(group, engine, member.timing.group if member.again else "")
    there = recall_timing(store, key)
    return key, there if there == member.timing else keep_timing(store, key, member.timing)


def _of_launch(timing: Timing, launch: int) -> Timing:
    """The part of a timing that its last launch added."""
    blocks = tuple(block for block in timing.blocks if block.launch == launch)
    return replace(timing, blocks=blocks, launches=timing.launches[-1:], warm_up_ns=() if launch else timing.warm_up_ns)


def _with(before: Checkpoint, part: Checkpoint) -> Checkpoint:
    """A session after one more launch. Those that had ended stay, and those that took no part in it any more are lost."""
    members = {engine: member for engine, member in before.members.items() if member.ended}
    for engine, member in part.members.items():
        earlier, later = before.members[engine].timing, member.timing
        timing = replace(
            later,
            blocks=(*earlier.blocks, *later.blocks),
            launches=(*earlier.launches, *later.launches),
            warm_up_ns=earlier.warm_up_ns,
        )
        members[engine] = replace(member, timing=timing)
    return replace(part, members=members)


def _read(store: Store, group: str, launch: int) -> Checkpoint | None:
    """What one launch added; ``None`` where there is no sound artefact."""
    key = checkpoint_key(group, launch)
    folder = store.path(KIND, key)
    found = store.entry(KIND, key, lambda facts: _parsed(folder, facts, launch))
    store.used.discard(f"{KIND}/{key}")
    return _parsed(folder, found.facts, launch) if found else None


def _parsed(folder: Path, facts: dict[str, Any], launch: int) -> Checkpoint:
    timings = read_together(facts["members"], folder / SAMPLES)
    members = {
        str(each["engine"]): KeptMember(timing, bool(each["ended"]), bool(each["again"]))
        for each, timing in zip(facts["members"], timings, strict=True)
    }
    begun = (str(facts["session"]), launch + 1, int(facts["rounds"]), str(facts["anchor"]))
    return Checkpoint(*begun, members, str(facts["after"]), str(facts["mark"]))
