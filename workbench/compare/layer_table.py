"""The layers of an engine as a table, with the time of each where its library tells it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.engines.provenance import kind_of
from workbench.errors import InputError
from workbench.runs.layer_pass import can_profile, known, profile
from workbench.store import Store
from workbench.trt.inspector import Inspection, Tensor, load

if TYPE_CHECKING:
    import pandas as pd

    from workbench.records import LayerProfile, Result

COLUMNS = (
    "layer", "type", "kind", "precision", "ms", "share %", "model layer", "from", "inputs", "outputs", "tactic", "GFLOP/s",
)  # fmt: skip


def layers(result: Result, store: Store | str | Path | None = None, *, measure: bool = False) -> pd.DataFrame:
    """One row per layer of a result's engine, in the order in which they run; sort it by any column, such as "ms".

    "ms" is the median time of the layer in a call at the row's batch, from the experiment's own pass over the layers
    (``layers=True``), or with ``measure`` timed now, which takes about 3 s; empty for TensorRT, whose inspector tells layers
    and no times. "kind" is what the layer does: compute with "weights",
    "convert" between number formats, "layout", or "other". "from" names the nodes of the ONNX model that it stands for,
    "model layer" the user's own. ``attrs`` hold "basis" (where all this was read) and, where layers were timed, "overhead"
    (what profiling added to a call, as a share) and "call ms" (a call without it).

    Raises:
        InputError: there is no engine, its library tells no layers, or they were not timed yet.
    """
    place = Store.of(store)
    if result.engine is not None:
        found = load(place.path("engine", result.engine.key))
        if found is not None:
            return inspected(found)
    able = can_profile(result)
    if not able:
        raise InputError(
            f"'{result.row}' {able.reason}. Choose a row of ONNX Runtime, OpenVINO or TensorRT that was built."
        )
    if measure:
        return timed(profile(result, place.prepare(), say=lambda _: None))
    seen = known(result, place)
    if seen is None:
        raise InputError(
            f"The layers of '{result.row}' were not timed yet. Run the experiment with 'layers' set to true, or give measure=True."
        )
    return timed(seen)


def timed(found: LayerProfile) -> pd.DataFrame:
    """The table of :func:`layers` for a profile."""
    import pandas as pd

    total = sum(each.median_s for each in found.layers)
    rows = [
        {
            "layer": each.name,
            "type": each.op,
            "kind": each.kind,
            "precision": each.precision,
            "ms": each.median_s * 1e3,
            "share %": 100 * each.median_s / total if total else 0.0,
            "model layer": each.scope,
            "from": ", ".join(each.origin),
            "inputs": each.inputs,
            "outputs": each.outputs,
            "tactic": "",
            "GFLOP/s": each.flops / each.median_s * 1e-9 if each.flops and each.median_s else None,
        }
        for each in found.layers
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs |= {"basis": found.basis, "overhead": found.overhead, "call ms": found.plain_s * 1e3}
    return table


def inspected(found: Inspection) -> pd.DataFrame:
    """The table of :func:`layers` for what TensorRT's inspector told."""
    import pandas as pd

    rows = [
        {
            "layer": each.name,
            "type": each.type,
            "kind": kind_of(each.type),
            "precision": each.precision,
            "from": ", ".join(each.origin),
            "inputs": ", ".join(map(_told, each.inputs)),
            "outputs": ", ".join(map(_told, each.outputs)),
            "tactic": each.tactic,
            "model layer": "",
        }
        for each in found.layers
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["basis"] = found.basis
    return table


def _told(tensor: Tensor) -> str:
    shape = "×".join("?" if size < 0 else str(size) for size in tensor.shape) if tensor.shape is not None else ""
    return " ".join(filter(None, (tensor.name, tensor.dtype, shape)))
