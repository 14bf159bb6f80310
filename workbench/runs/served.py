"""Load tests of deployments in the store, beside the runs whose rows were deployed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.records import ServedLoad, to_json
from workbench.store import Store, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.records import Results

KIND = "served"


def keep_served(loads: Iterable[ServedLoad], store: Store) -> None:
    """Keep measurements of a deployment, each as an artefact whose key begins with the name of the run.

    Raises:
        StoreError: the store cannot be written.
    """
    for one in loads:
        facts = to_json(one)
        store.put(KIND, f"{one.run}.{key_of(served=facts)[:12]}", facts)


def served_of(run: str, store: Store) -> tuple[ServedLoad, ...]:
    """The load tests of deployments of a run, in the order of measuring; those that cannot be read are left out."""
    names = sorted(path.name for path in store.path(KIND, run).parent.glob(f"{run}.*") if "damaged" not in path.name)
    found = (store.record(KIND, name, ServedLoad) for name in names)
    return tuple(sorted((one for one in found if one), key=lambda one: (one.load.measured_at, not one.batching)))


def with_served(results: Results, run: str, store: Store) -> Results:
    """Results with the load tests that they hold, as those of an imported run do, and those in the store."""
    both = [*results.served, *(one for one in served_of(run, store) if one not in results.served)]
    return replace(results, served=tuple(both))
