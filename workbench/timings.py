"""Timings in the store: the record as JSON, and every duration in one file beside it that is read when it is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.durations import Durations
from workbench.errors import writing
from workbench.records import Timing, from_json, to_json
from workbench.store import Store

KIND = "timing"
SAMPLES = "samples.npy"
"""Shape (n,), int64, nanoseconds: the warm-up's, then those of each block; how many of each is ``lengths`` in the facts."""


def keep_timing(store: Store, key: str, timing: Timing) -> Timing:
    """Store a timing. What is returned is equal to it, and takes next to no memory.

    Raises:
        StoreError: it cannot be written.
    """
    import numpy as np

    parts = [timing.warm_up_ns, *(block.samples_ns for block in timing.blocks)]
    lengths = [len(part) for part in parts]
    bare = _filled(timing, [()] * len(parts))
    with store.create(KIND, key) as draft:
        content = io.BytesIO()  # written by Python, whose errors say why: NumPy's own do not know that a disk is full
        np.save(content, np.concatenate([np.asarray(part, dtype=np.int64) for part in parts]))
        with writing(draft.folder):
            (draft.folder / SAMPLES).write_bytes(content.getbuffer())
        draft.facts = {"timing": to_json(bare), "lengths": lengths}
    return _read(store.path(KIND, key), draft.facts)


def recall_timing(store: Store, key: str) -> Timing | None:
    """The timing that was stored under this key, or ``None`` where there is no sound one."""
    folder = store.find(KIND, key)
    if folder is None or not (folder / SAMPLES).exists():
        return None
    return _read(folder, store.manifest(folder)["facts"])


def _read(folder: Path, facts: dict[str, Any]) -> Timing:
    return _filled(from_json(Timing, facts["timing"]), Durations.on_disk(folder / SAMPLES, facts["lengths"]))


def _filled(timing: Timing, parts: Sequence[Sequence[int]]) -> Timing:
    """The timing with these durations: the warm-up's first, then each block's."""
    warm_up, *blocks = parts
    filled = tuple(replace(block, samples_ns=part) for block, part in zip(timing.blocks, blocks, strict=True))
    return replace(timing, warm_up_ns=warm_up, blocks=filled)
