"""The entries of a store, their sizes, and which of them can be removed.

Entries are the artefacts, and the files of runs, logs, locks, jobs, caches and live models. The results of a run name every artefact
that the run used. Artefacts that a kept run used are never removed.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import StoreError, writing
from workbench.locks import holders
from workbench.store.manifest import MANIFEST, DamagedError, parsed, read
from workbench.store.store import KINDS, Store

RESULTS = "results"
ANSWERS = (RESULTS, "conformance", "sensitivity", "served", "repair", "peaks", "portable")
"""Kinds that are kept although no run refers to them."""
OTHERS = {
    "cache": "what libraries keep between runs",
    "conformance_cases": "outcomes of ONNX's operator cases, one by one",
    "data": "live data",
    "jobs": "jobs of panels",
    "labels": "names and notes of runs",
    "locks": "lock files",
    "logs": "what workers printed",
    "models": "live models",
    "outbox": "answers on their way",
    "runs": "journals of runs",
    "searches": "searches of panels",
}
"""Folders of a store that hold no artefacts."""
AGED = ("data", "jobs", "logs", "models", "runs", "searches")
"""Those of :data:`OTHERS` whose entries are removed by age and size."""


@dataclass(frozen=True)
class Item:
    """One entry: its path in the store, its size in bytes on the disk, and its time of last use (seconds since 1970)."""

    kind: str
    path: Path
    size_bytes: int
    used_at: float
    damaged: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.name}"


@dataclass(frozen=True)
class Criteria:
    """Criteria of removal: an age in seconds, unreferenced, damaged, or the least recently used above a size in bytes."""

    older_than_s: float | None = None
    unreferenced: bool = False
    damaged: bool = False
    max_bytes: int | None = None


@dataclass
class Removal:
    """The entries that were chosen for removal, by reason, with the size of the store before and after."""

    before_bytes: int
    chosen: dict[str, list[Item]] = field(default_factory=dict)  # by reason
    unlisted: int = 0  # kept runs of earlier versions, which do not name the artefacts that they used

    @property
    def items(self) -> list[Item]:
        return [item for items in self.chosen.values() for item in items]

    @property
    def after_bytes(self) -> int:
        return self.before_bytes - sum(item.size_bytes for item in self.items)

    @property
    def runs(self) -> bool:
        """Whether results of runs are among the chosen entries."""
        return any(item.kind == RESULTS for item in self.items)

    def choose(self, reason: str, items: Iterable[Item]) -> None:
        taken = {item.path for item in self.items}
        if fresh := [item for item in items if item.path not in taken]:
            self.chosen.setdefault(reason, []).extend(fresh)


def items(store: Store) -> list[Item]:
    """Every entry of a store, sorted by kind and name."""
    if not store.root.is_dir():
        return []
    found = []
    for folder in sorted(store.root.iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            entries = [folder] if folder.name == "cache" else sorted(folder.iterdir())
            found += [_item(folder.name, path) for path in entries]
        else:
            found.append(_item(".", folder))
    return [item for item in found if item is not None]


def _item(kind: str, path: Path) -> Item | None:
    try:
        found = path.lstat()
        damaged = ".damaged-" in path.name or (kind not in OTHERS and kind != "." and path.name.startswith("."))
        used_at = found.st_mtime
        if kind == RESULTS and not damaged:  # reading the history does not count as a use
            used_at = (path / MANIFEST).stat().st_mtime
        return Item(kind, path, _size(path), used_at, damaged)
    except PermissionError:  # an entry that only its owner may read
        return Item(kind, path, 0, time.time(), damaged=False)
    except OSError:  # removed by another process, or damaged
        return Item(kind, path, 0, time.time(), kind == RESULTS) if os.path.lexists(path) else None


def _size(path: Path) -> int:
    """The size of a file or a folder on the disk, in bytes."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_blocks * 512
    return path.lstat().st_blocks * 512 + sum(_size(each) for each in path.iterdir())


def by_kind(items: Iterable[Item]) -> list[tuple[str, str, int, int]]:
    """For each kind its name, its description, its number of entries, and their size in bytes; the largest first."""
    kinds: dict[str, list[int]] = {}
    for item in items:
        kinds.setdefault(item.kind, []).append(item.size_bytes)
    descriptions = {**OTHERS, **KINDS, ".": "index and key"}
    rows = [(kind, descriptions.get(kind, ""), len(sizes), sum(sizes)) for kind, sizes in kinds.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def choose(store: Store, asked: Criteria, now: float | None = None) -> Removal:
    """The entries that :func:`remove` would remove from a store; the store is not changed.

    Runs that are older than the age are chosen first, with the artefacts that no other run used. Other entries follow the same rule:
    artefacts of a kept run stay. With a size, the least recently used of the removable entries are chosen until the store fits.
    """
    now = time.time() if now is None else now
    found = items(store)
    removal = Removal(sum(item.size_bytes for item in found))
    if asked.damaged:
        removal.choose("damaged", _damaged(store, found))
    if asked.older_than_s is not None:
        limit = now - asked.older_than_s
        removal.choose("old", [item for item in found if item.kind == RESULTS and item.used_at < limit])
    gone = {item.path for item in removal.items}
    held, removal.unlisted = referenced(store, [item for item in found if item.path not in gone])
    free = [item for item in found if _may_go(item, held)]
    if asked.older_than_s is not None:
        removal.choose("old", [item for item in free if item.used_at < limit])
    if asked.unreferenced:
        removal.choose("unreferenced", [item for item in free if item.kind not in (*ANSWERS, *OTHERS)])
    if asked.max_bytes is not None:
        for item in sorted(free, key=lambda item: item.used_at):
            if removal.after_bytes <= asked.max_bytes:
                break
            if item.kind not in ANSWERS:
                removal.choose("over the size", [item])
    return removal


def remove(removal: Removal) -> None:
    """Remove the chosen entries; the caller has held :func:`workbench.store.use.removing` since before they were chosen.

    Raises:
        StoreError: an entry cannot be removed.
    """
    failed: list[StoreError] = []
    for item in removal.items:
        try:
            with writing(item.path):
                _remove(item.path)
        except StoreError as error:  # an entry of another user: the others are removed
            failed.append(error)
    if failed:
        raise StoreError(f"{len(failed)} of {len(removal.items)} entries were not removed. {failed[0].message}")


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if not all(os.access(folder, os.W_OK) for folder, _, _ in os.walk(path)):
        raise PermissionError(errno.EACCES, "not this user's", str(path))
    # renamed first: a partly removed entry must not be found
    draft = path.with_name(f".removed-{path.name}")
    path.rename(draft)
    shutil.rmtree(draft)


def referenced(store: Store, kept: Iterable[Item]) -> tuple[set[str], int]:
    """Names of all entries that these runs used, and the number of runs that do not name their artefacts.

    Runs of earlier versions do not: all entries that were made before such a run ended count as used by it.
    """
    names: set[str] = set()
    unlisted: list[float] = []
    kept = list(kept)
    for item in kept:
        if item.kind != RESULTS or item.damaged:
            continue
        facts = _facts(item.path)
        about = facts.get("about", {}) if isinstance(facts, dict) else {}
        names |= {item.name, f"runs/{item.path.name}.jsonl"}
        if isinstance(about.get("used"), list):
            names |= {str(each) for each in about["used"]}
            asked = about.get("parameters") or {}
            names |= set(_within(store, [asked.get("model"), asked.get("data")]))
        else:
            unlisted.append(item.used_at)
    last = max(unlisted, default=0.0)
    names |= {item.name for item in kept if _made_at(item) <= last}
    return names, len(unlisted)


def _facts(folder: Path) -> Any:
    """Facts of an artefact, without a check: a false reference keeps an entry and has no other effect."""
    try:
        return parsed(folder / MANIFEST)["facts"]
    except (DamagedError, OSError, KeyError, TypeError):
        return None


def _made_at(item: Item) -> float:
    try:
        return (item.path / MANIFEST).stat().st_mtime
    except OSError:
        return item.used_at


def _within(store: Store, paths: Iterable[object]) -> Iterator[str]:
    """Names of the entries that contain these paths."""
    for path in paths:
        if isinstance(path, str) and Path(path).is_absolute() and Path(path).is_relative_to(store.root):
            yield "/".join(Path(path).relative_to(store.root).parts[:2])


def _may_go(item: Item, held: set[str]) -> bool:
    if item.name in held or item.kind == ".":
        return False
    if item.kind in ("jobs", "searches"):
        return not _locked(item.path / "lock")
    return item.kind in AGED or item.kind not in OTHERS


def _locked(path: Path) -> bool:
    try:
        return holders.holder_of(path) is not None
    except OSError:
        return True


def _damaged(store: Store, items: Iterable[Item]) -> Iterator[Item]:
    """Entries that were marked as damaged, partly written entries, and those that differ from their digests. Reads all artefacts."""
    for item in items:
        if item.damaged:
            yield item
        elif item.kind == "locks" and item.path.suffix == ".lock" and not _locked(item.path):
            yield item  # a killed process left it behind
        elif item.kind not in OTHERS and item.kind != ".":
            try:
                read(item.path, item.kind, item.path.name, store.keyring)
            except DamagedError:
                yield item
            except OSError:  # the entry of another user, or too many open files
                continue
