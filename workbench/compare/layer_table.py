"""The layers of an engine as a table, with the time of each if its library reports it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import backends
from workbench.errors import InputError
from workbench.protocols import InspectsLayers, LayerTimings, Profiler
from workbench.runs.layer_pass import can_profile, known, profile
from workbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from workbench.records import LayerProfile, Result
    from workbench.records.layers import LayerTime

COLUMNS = (
    "layer", "type", "kind", "precision", "ms", "share %", "model layer", "from", "inputs", "outputs", "tactic", "GFLOP/s",
)  # fmt: skip


def layers(result: Result, store: Store | str | Path | None = None, *, measure: bool = False) -> pd.DataFrame:
    """One row per layer of a result's engine, in the order in which they run; sort it by any column, such as "ms".

    "ms" is the median time of the layer in a call at the row's batch, from the experiment's own pass over the layers
    (``layers=True``), or with ``measure`` timed now, which takes about 3 s; empty for TensorRT, whose inspector reports layers
    and no times. "kind" is what the layer does: compute with "weights",
    "convert" between number formats, "layout", or "other". "from" names the nodes of the ONNX model that it stands for,
    "model layer" the user's own. ``attrs`` hold "basis" (where all this was read) and, where layers were timed, "overhead"
    (what profiling added to a call, as a share) and "call ms" (a call without it).

    Raises:
        InputError: there is no engine, its library reports no layers, or they were not timed yet.

    Example::

        workbench.layers(results.rows[0], measure=True).sort_values("ms")
    """
    place = Store.of(store)
    if found := _inspected(result, place):
        table = _table(found.layers)
        table.attrs["basis"] = found.basis
        return table
    able = can_profile(result)
    if not able:
        raise InputError(
            f"'{result.row}' {able.reason}. Choose a row of a backend that reports its layers ({_telling()}) that was built."
        )
    if measure:
        return timed(profile(result, place.prepare(), say=lambda _: None))
    seen = known(result, place)
    if seen is None:
        raise InputError(
            f"The layers of '{result.row}' were not timed yet. Run the experiment with 'layers' set to true, or give measure=True."
        )
    return timed(seen)


def known_layers(result: Result, store: Store | str | Path | None = None) -> tuple[LayerTime, ...]:
    """The layers of a result's engine, with times where they were timed before; empty where its library reports none, or they
    were not timed.
    """
    place = Store.of(store)
    seen = _inspected(result, place) or known(result, place)
    return tuple(seen.layers) if seen else ()


def _inspected(result: Result, store: Store) -> LayerTimings | None:
    """What the engine's library reports of its layers without running it."""
    if result.engine is None or result.spec.backend not in backends.names():
        return None
    backend = backends.get(result.spec.backend)
    return backend.inspected(store.path("engine", result.engine.key)) if isinstance(backend, InspectsLayers) else None


def _telling() -> str:
    found = map(backends.get, backends.names())
    return ", ".join(each.title for each in found if isinstance(each, (InspectsLayers, Profiler)))


def timed(profile: LayerProfile) -> pd.DataFrame:
    """The table of :func:`layers` for a profile."""
    table = _table(profile.layers)
    table.attrs |= {"basis": profile.basis, "overhead": profile.overhead, "call ms": profile.plain_s * 1e3}
    return table


def _table(layers: Sequence[LayerTime]) -> pd.DataFrame:
    """``NaN`` where a layer was not timed."""
    import pandas as pd

    total = sum(each.median_s for each in layers)
    rows = [
        {
            "layer": each.name,
            "type": each.op,
            "kind": each.kind,
            "precision": each.precision,
            "ms": each.median_s * 1e3 if each.times_ns else math.nan,
            "share %": 100 * each.median_s / total if total else math.nan,
            "model layer": each.scope,
            "from": ", ".join(each.origin),
            "inputs": each.inputs,
            "outputs": each.outputs,
            "tactic": each.tactic,
            "GFLOP/s": each.flops / each.median_s * 1e-9 if each.flops and each.median_s else math.nan,
        }
        for each in layers
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
