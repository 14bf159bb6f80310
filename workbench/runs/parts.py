"""Parts of a run that other processes carry out, such as the workers of a cluster: which rows, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workbench.records import Results
from workbench.runs.archive import facts_of_run
from workbench.runs.whole import results_from, timings_of
from workbench.store import Store

KIND = "part"
PLANNED = "plan"
"""Of :attr:`Part.only`: read the model and the samples and find which rows are possible, and build nothing."""


@dataclass(frozen=True)
class Part:
    """A part of a run.

    Attributes:
        key: of its results in the store.
        rows: the names of its rows; empty: all.
        only: as in :func:`workbench.runs.pipeline.run`, or :data:`PLANNED`.
        examined: examine the graph of the model as well, where nothing is timed.
    """

    key: str
    rows: tuple[str, ...] = ()
    only: str = "all"
    examined: bool = False


def keep_part(store: Store, part: Part, results: Results) -> None:
    """Keep the results of a part as an artefact, whose facts are those of a run, with the names of all artefacts that it used."""
    facts = facts_of_run(
        results,
        results.run,
        judged=False,  # the whole run is; a worker must not be kept from its next part
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters=None,
        scored_by="",
        used=sorted(store.used),
    )
    store.put(KIND, part.key, facts)


def part_results(store: Store, facts: Any) -> Results:
    """The results of a part from its facts, with the durations that the store has.

    Raises:
        Exception: they are not those of a part; the converter raises errors of many kinds.
    """
    return results_from(facts, timings_of("", facts, store))


def used_by(facts: Any) -> tuple[tuple[str, str], ...]:
    """The artefacts that a part used, each as kind and key."""
    names = (str(name).partition("/") for name in facts["about"]["used"])
    return tuple((kind, key) for kind, _, key in names)
