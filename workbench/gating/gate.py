"""The gate itself: which two sides are compared, and how."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.environments import registry
from workbench.errors import InputError
from workbench.gating.in_turn import GateContext, rows_in_turn
from workbench.gating.outcome import Gate, GateLimits
from workbench.gating.recorded import recorded_run, rows_apart
from workbench.records import split_address
from workbench.runs.run_rows import OnEvent
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.machine import this_machine
from workbench.system.progress import followed
from workbench.system.stop import Stop

HERE = "this Python"
EXCLUDED_IN_TURN, EXCLUDED_APART = 0.05, 0.15
"""Slowdowns that "no worse" excludes; the second, for recorded runs, is above the allowance of their intervals."""


@dataclass(frozen=True)
class Old:
    """The old side: a model, an environment or both, or a recorded run. What is empty is as on the new side.

    Attributes:
        model: path of the old model.
        environment: name of the environment of the old libraries; ``"here"`` is this Python.
        recorded: a run of the history, or the path of a file of a run.
    """

    model: str = ""
    environment: str = ""
    recorded: str = ""


def gate(
    experiment: Experiment,
    *,
    old_model: str = "",
    old_environment: str = "",
    recorded: str = "",
    allow_slower: float = 0.0,
    exclude_slower: float | None = None,
    store: Store | str | Path | None = None,
    on_event: OnEvent | None = None,
    cancel: threading.Event | None = None,
) -> Gate:
    """Whether the experiment's engines are slower than their old counterparts. Blocks.

    Old and new take turns. A recorded run stands for the old side where that cannot run; intervals are then at least 10 % wide on both sides.

    Args:
        experiment: the new side: model, backends with their environments, precisions, batches.
        old_model: path of the old model.
        old_environment: name of the environment with the old libraries (``workbench environment add``).
        recorded: a run of the history by its name or the last letters of it, or the path of a ``.wbrun`` file.
        allow_slower: a slowdown up to this share of the old time is accepted: 0.02 is 2 %.
        exclude_slower: "no worse" requires that a slowdown of this share beyond the accepted one is excluded; by default 0.05, and
            0.15 with a recorded run.
        store: where engines and results are kept.
        on_event: called for every step; without it as in :func:`workbench.run`.
        cancel: set it to stop.

    Returns:
        The outcome of each variant at each batch size, with the slowdown and its interval.

    Example::

        found = workbench.gate(workbench.Experiment(model="new.onnx", backends="onnxruntime"), old_model="old.onnx")
        print(found.outcome, found.sentence)

    Raises:
        InputError: no old side or two, different inputs, a run of another machine, or nothing that can be measured.
        Cancelled: it was cancelled.
    """
    old = Old(old_model, old_environment, recorded)
    _check(old, allow_slower, exclude_slower)
    default = EXCLUDED_APART if recorded else EXCLUDED_IN_TURN
    limits = GateLimits(allow_slower, default if exclude_slower is None else exclude_slower)
    with followed(on_event) as listener:
        work = GateContext(Store.of(store).prepare(), listener, Stop.of(cancel))
        return _outcome(experiment.resolved(), old, limits, work)


def _outcome(new: Experiment, old: Old, limits: GateLimits, work: GateContext) -> Gate:
    began, began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    if old.recorded:
        run = recorded_run(old.recorded, work.store)
        rows, name = rows_apart(run, new, limits, work), f"the run {run.run} ({run.model.name})"
    else:
        before = _old_side(new, old)
        rows, name = rows_in_turn(before, new, limits, work), _described(before)
    found = Gate(rows, name, _described(new), not old.recorded, limits, this_machine(), new.plan, began_at)
    return replace(found, wall_s=time.monotonic() - began)


def _check(old: Old, allowed: float, excluded: float | None) -> None:
    in_turn = bool(old.model or old.environment)
    if in_turn == bool(old.recorded):
        found = "both" if in_turn else "neither"
        raise InputError(
            f"A gate needs an old side to measure in turn (--old-model, --old-environment) or a recorded run (--recorded); found {found}. "
            "Give one of the two."
        )
    if not 0 <= allowed < 1 or not 0 < (1 if excluded is None else excluded) <= 1:
        raise InputError(
            f"The accepted slowdown must be at least 0 and below 1, and the excluded one above 0; found {allowed} and {excluded}. "
            "0.05 is 5 %."
        )


def _old_side(new: Experiment, old: Old) -> Experiment:
    """The same experiment on the old model, with the old environment's libraries."""
    changes: dict[str, Any] = {"model": old.model} if old.model else {}
    if old.environment:
        where = "" if old.environment == "here" else f"@{registry.named(old.environment).name}"
        changes["backends"] = tuple(dict.fromkeys(_plain(address) + where for address in new.backends))
    found: Experiment = replace(new, **changes)
    if found == new:
        raise InputError(f"The old and the new side are both {_described(new)}. Name another model or environment.")
    return found


def _plain(address: str) -> str:
    backend, mode, _ = split_address(address)
    return f"{backend}:{mode}" if mode else backend


def _described(experiment: Experiment) -> str:
    where = dict.fromkeys(split_address(address)[2] or HERE for address in experiment.backends)
    return f"{experiment.model} in {', '.join(where)}"
