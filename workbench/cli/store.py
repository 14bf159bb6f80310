"""The command ``store``: what the store holds and how large it is, and the removal of what is not needed."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from workbench.cli.answer import Answer, Exit
from workbench.errors import InputError
from workbench.errors.printable import one_line
from workbench.models.describe import counted
from workbench.settings.options import add_run_settings
from workbench.store import Store
from workbench.store.contents import Criteria, Item, Removal, by_kind, choose, items, remove
from workbench.store.use import removing
from workbench.system.progress import ProgressBar

SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
HELP = "show what the store holds and its size, and remove what is not needed"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--prune",
        action="store_true",
        help="remove what the following options name; what a run that is kept has used always stays",
    )
    add("--older-than", metavar="AGE", help="runs older than this, such as 30d, 12h or 4w, and entries not used since")
    add("--unreferenced", action="store_true", help="artefacts that no run in the history has used")
    add("--damaged", action="store_true", help="damaged and half-written entries; reads the whole store")
    add(
        "--max-size", metavar="SIZE", help="the least recently used entries until the store is not larger, such as 10GB"
    )
    add("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    add_run_settings(parser, "store")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:  # noqa: ARG001 - as every command
    """Sizes by kind, and what was removed; status 1 if the store is still larger than requested."""
    asked = Criteria(
        older_than_s=None if options.older_than is None else age(options.older_than),
        unreferenced=options.unreferenced,
        damaged=options.damaged,
        max_bytes=None if options.max_size is None else size(options.max_size),
    )
    store, dry = Store(options.store or None), bool(options.dry_run)
    if asked == Criteria():
        if options.prune or dry:
            raise InputError(
                "--prune needs to know what to remove. Add --older-than, --unreferenced, --damaged or --max-size."
            )
        found = items(store)
        return Answer("\n".join(_listed(store, found)), _document(store, found))
    if not options.prune and not dry:
        raise InputError("Nothing was removed: add --prune to remove, or --dry-run to see what would be.")
    removal = _pruned(store, asked, dry=dry)
    text, document = "\n".join(_removal_lines(removal, dry=dry)), _document(store, items(store), removal, dry=dry)
    if asked.max_bytes is not None and removal.after_bytes > asked.max_bytes:
        problem = (
            f"The store is larger than {_bytes(asked.max_bytes)}: the rest was used by runs in the history, or is not removed by "
            "size. Add --older-than to remove old runs as well."
        )
        return Answer(text, document, Exit.FAILED, problem)
    return Answer(text, document)


def _pruned(store: Store, asked: Criteria, *, dry: bool) -> Removal:
    if not store.root.is_dir():
        raise InputError(f"There is no store {store.root}. Name it with --store.")
    with contextlib.nullcontext() if dry else removing(store.root):
        removal = choose(store, asked)
        if not dry:
            if removal.runs:
                from workbench.runs.index import forget

                forget(store)
            remove(removal)
    return removal


def _document(store: Store, items: list[Item], removal: Removal | None = None, *, dry: bool = False) -> dict[str, Any]:
    removed = [] if removal is None else removal.items
    return {
        "store": str(store.root),
        "size_bytes": sum(item.size_bytes for item in items),
        "kinds": [
            {"kind": kind, "what": what, "entries": count, "size_bytes": total}
            for kind, what, count, total in by_kind(items)
        ],
        "damaged": [item.name for item in items if item.damaged],
        "dry_run": dry,
        "removed": [{"entry": item.name, "size_bytes": item.size_bytes} for item in removed],
    }


def _listed(store: Store, items: list[Item]) -> Iterator[str]:
    total = sum(item.size_bytes for item in items)
    yield f"store {one_line(store.root)}: {_entries(len(items))}, {_bytes(total)}"
    for kind, what, count, kind_bytes in by_kind(items):
        yield f"  {one_line(kind):14}{count:8,}  {_bytes(kind_bytes):>10}  {what}"
    if damaged := [item for item in items if item.damaged]:
        yield f"Damaged or half-written: {_entries(len(damaged))}; --prune --damaged removes them."


def _removal_lines(removal: Removal, *, dry: bool) -> Iterator[str]:
    for reason, chosen in removal.chosen.items():
        for kind, what, count, total in by_kind(chosen):
            yield f"  {reason}: {count:,} of {one_line(kind)} ({what}), {_bytes(total)}"
    if removal.unlisted:
        runs = counted(removal.unlisted, "run")
        yield f"{runs} in the history by an earlier version did not note what was used: all that is older stays."
    verb, takes = ("to remove", "would take") if dry else ("removed", "takes")
    sizes = f"{_bytes(removal.after_bytes)} of {_bytes(removal.before_bytes)}"
    yield f"{_entries(len(removal.items))} {verb}; the store {takes} {sizes}."


def age(text: str) -> float:
    """Seconds: a number and h, d or w.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdw])", text.strip().lower())
    if not found:
        raise InputError(f"'--older-than' is '{text}'. Give a number of hours, days or weeks, such as 12h, 30d or 4w.")
    return float(found[1]) * SECONDS[found[2]]


def size(text: str) -> int:
    """Bytes: a number, with or without a unit.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if not found or found[2] not in UNITS:
        raise InputError(
            f"'--max-size' is '{text}'. Give a number of bytes with or without a unit, such as 500MB or 10GB."
        )
    return int(float(found[1]) * UNITS[found[2]])


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _bytes(count: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"
