"""Names and notes that a person gives to runs: a small file for each, which no result depends on."""

from __future__ import annotations

import json
from typing import NamedTuple

from workbench.errors import writing
from workbench.errors.printable import one_line
from workbench.store import Store

FOLDER = "labels"
LONGEST_NAME, LONGEST_NOTE = 80, 500  # characters


class Label(NamedTuple):
    """Name and note of a run, each "" where there is none.

    >>> Label("before pruning", "one core was busy")
    Label(name='before pruning', note='one core was busy')
    """

    name: str = ""
    note: str = ""


def label_of(store: Store, run: str) -> Label:
    """The label of a run, or of a job that has no results; empty where there is none, or the file is damaged."""
    try:
        found = json.loads((store.root / FOLDER / f"{run}.json").read_text(encoding="utf-8"))
        return _cut(str(found["name"]), str(found["note"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Label()


def set_label(store: Store, run: str, name: str, note: str) -> Label:
    """Give a run this name and this note, cut to ``LONGEST_NAME`` and ``LONGEST_NOTE`` characters; both empty remove the label.

    Raises:
        StoreError: the store cannot be written.
    """
    label, path = _cut(name, note), store.root / FOLDER / f"{run}.json"
    with writing(path):
        if not any(label):
            path.unlink(missing_ok=True)
            return label
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(label._asdict()), encoding="utf-8")
        draft.replace(path)
    return label


def _cut(name: str, note: str) -> Label:
    return Label(one_line(name).strip()[:LONGEST_NAME], one_line(note).strip()[:LONGEST_NOTE])
