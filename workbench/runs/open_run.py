"""Open a run of the history, with its results as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.records import Results
from workbench.runs.archive import find, runs
from workbench.runs.served import with_served
from workbench.runs.unfinished import unfinished
from workbench.runs.whole import KIND, Timings, results_from, timings_of
from workbench.settings.experiment import Experiment
from workbench.store import Store


def open_run(name: str, store: Store | str | Path | None = None) -> Results:
    """The results of a run in the history, from which all tables and figures are made.

    Args:
        name: as in the column "run" of :func:`workbench.history`, or its last letters.
        store: the store, or its path; the default store where none is given.

    Raises:
        InputError: there is no such run, an earlier version kept it, or it ended before it had results; the text says what is there and how
            to go on.
        StoreError: the store cannot be read.

    A run that was measured on another machine and imported says so in ``results.imported`` and in the first of its warnings.

    Example::

        results = workbench.open_run("f3a9c1")
        print(results.table().text())
    """
    place = Store.of(store)
    known = runs(place)
    ends = [each for each in unfinished(place) if name and each.name.endswith(name) and not each.results]
    if len(ends) == 1 and not any(run.name.endswith(name) for run in known):
        raise InputError(f"The run {ends[0].name} has no results: {ends[0].summary}")
    run = find(name, known)
    return with_served(kept_results(run, place), run, place)


def kept_results(run: str, store: Store) -> Results:
    """The results of a run as the store has them.

    Raises:
        InputError: they are damaged, or an earlier version kept them.
    """
    facts = facts_of(run, store)
    return readable(run, facts, timings_of(run, facts, store))


def facts_of(run: str, store: Store) -> Any:
    """What the store has of a run.

    Raises:
        InputError: it is damaged.
    """
    facts = store.facts(KIND, run)
    if facts is None:
        raise InputError(f"The results of the run {run} are damaged. Choose another run.")
    return facts


def readable(run: str, facts: Any, timings: Timings) -> Results:
    """:func:`results_from`, with one error for all facts that this version cannot read.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return results_from(facts, timings)
    except InputError:
        raise
    except Exception as cause:  # the converter raises groups of whatever the fields raise
        raise InputError(
            f"The run {run} was kept by another version, which this one cannot read. Run it again."
        ) from cause


def asked_for(facts: Any) -> Experiment | None:
    """The experiment of a run; ``None`` where the run did not note one, or this version does not know its settings."""
    try:
        return Experiment(**facts["about"]["parameters"])
    except (InputError, TypeError, KeyError):
        return None
