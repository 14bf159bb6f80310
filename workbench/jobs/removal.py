"""Removal of one run from a store: its results, its job, its journal and its label. Engines and timings stay."""

from __future__ import annotations

from workbench.errors import InputError
from workbench.jobs.job import Job
from workbench.runs.index import forget
from workbench.runs.labels import FOLDER
from workbench.runs.whole import KIND
from workbench.store import Store
from workbench.store.contents import Removal, items, remove
from workbench.store.use import removing


def remove_run(store: Store, run: str, job: Job | None = None) -> None:
    """Remove what the store has of a run; ``job`` is the process that it was made by, and ``run`` is "" where it has no results.

    Raises:
        InputError: the run is in progress.
        StoreError: another process uses the store, or an entry cannot be removed.
    """
    if job is not None and job.running:
        raise InputError("This run is in progress. Cancel it first, then delete it.")
    named = {f"{kind}/{run}" for kind in (KIND, "runs")} | {f"runs/{run}.jsonl"} if run else set()
    named |= {f"jobs/{job.name}"} if job else set()
    named |= {f"{FOLDER}/{each}.json" for each in (run, job.name if job else "") if each}
    with removing(store.root):
        found = items(store)
        removal = Removal(sum(item.size_bytes for item in found))
        removal.choose("deleted", [item for item in found if item.name in named])
        forget(store)
        remove(removal)
