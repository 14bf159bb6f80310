"""Timings in the store: the record as JSON, and all durations in one file beside it that is read on first access."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from workbench.errors import writing
from workbench.records import Timing, from_json, to_json
from workbench.stats.durations import Durations
from workbench.store import Store

KIND = "timing"
SAMPLES = "samples.npy"
"""Shape (n,), int64, nanoseconds: the warm-up's, those of each block, and the warm-up's of each launch; how many of each is
``lengths`` in the facts."""


def keep_timing(store: Store, key: str, timing: Timing) -> Timing:
    """Store a timing. What is returned is equal to it, and takes next to no memory.

    Raises:
        StoreError: it cannot be written.
    """
    facts, parts = emptied(timing)
    with store.create(KIND, key) as draft:
        with writing(draft.folder):
            (draft.folder / SAMPLES).write_bytes(as_npy(parts))
        draft.facts = facts
    return _read(store.path(KIND, key), draft.facts)


def emptied(timing: Timing) -> tuple[dict[str, Any], list[Sequence[int]]]:
    """A timing as JSON without its durations but with their numbers, and the durations, in the order of :data:`SAMPLES`."""
    parts = [timing.warm_up_ns, *(b.samples_ns for b in timing.blocks), *(one.warm_up_ns for one in timing.launches)]
    facts = {"timing": to_json(filled(timing, [()] * len(parts))), "lengths": [len(part) for part in parts]}
    return facts, parts


def as_npy(parts: Sequence[Sequence[int]]) -> bytes:
    """The content of an ``.npy`` file with these durations one after another: shape (n,), int64, nanoseconds."""
    import numpy as np

    content = io.BytesIO()  # written by Python, whose errors say why: NumPy's own do not know that a disk is full
    np.save(content, np.concatenate([np.empty(0, np.int64), *(np.asarray(part, dtype=np.int64) for part in parts)]))
    return content.getvalue()


def recall_timing(store: Store, key: str) -> Timing | None:
    """The timing that was stored under this key, or ``None`` where there is no sound one."""
    folder = store.path(KIND, key)
    found = store.entry(KIND, key, lambda facts: _read(folder, facts))
    return _read(folder, found.facts) if found else None


def _read(folder: Path, facts: dict[str, Any]) -> Timing:
    (timing,) = read_together([facts], folder / SAMPLES)
    return timing


def read_together(facts: Sequence[dict[str, Any]], samples: Path) -> list[Timing]:
    """Timings from the facts of :func:`emptied`, and the one file with the durations of all of them.

    Raises:
        ValueError: the file holds another number of durations.
    """
    parts = iter(Durations.on_disk(samples, [length for each in facts for length in each["lengths"]]))
    return [filled(from_json(Timing, each["timing"]), list(islice(parts, len(each["lengths"])))) for each in facts]


def filled(timing: Timing, parts: Sequence[Sequence[int]]) -> Timing:
    """The timing with these durations: the warm-up's first, then each block's, then each launch's warm-up's."""
    of_blocks, of_launches = parts[1 : len(timing.blocks) + 1], parts[len(timing.blocks) + 1 :]
    blocks = tuple(replace(one, samples_ns=part) for one, part in zip(timing.blocks, of_blocks, strict=True))
    launches = tuple(replace(one, warm_up_ns=part) for one, part in zip(timing.launches, of_launches, strict=True))
    return replace(timing, warm_up_ns=parts[0], blocks=blocks, launches=launches)
