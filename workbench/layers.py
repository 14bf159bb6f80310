"""The layers of an engine as a table, where its library tells them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.inspector import Tensor, load
from workbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from workbench.records import Result

COLUMNS = ("layer", "type", "precision", "inputs", "outputs", "tactic", "from")


def layers(result: Result, store: Store | str | Path | None = None) -> pd.DataFrame:
    """One row per layer of a result's engine, in order: the format it computes in, its tensors, and the nodes of the ONNX model
    that it came from. ``attrs["basis"]`` says where that was read.

    Raises:
        InputError: there is no engine, or its library tells no layers (TensorRT does).
    """
    import pandas as pd

    place = store if isinstance(store, Store) else Store(store or None)
    found = load(place.path("engine", result.engine.key)) if result.engine else None
    if found is None:
        why = "was not built" if result.engine is None else "tells no layers"
        raise InputError(f"'{result.row}' {why}. Choose a row of the backend 'tensorrt' that was built.")
    rows = [
        (
            each.name,
            each.type,
            each.precision,
            ", ".join(map(_told, each.inputs)),
            ", ".join(map(_told, each.outputs)),
            each.tactic,
            ", ".join(each.origin),
        )
        for each in found.layers
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["basis"] = found.basis
    return table


def _told(tensor: Tensor) -> str:
    shape = "×".join("?" if size < 0 else str(size) for size in tensor.shape) if tensor.shape is not None else ""
    return " ".join(filter(None, (tensor.name, tensor.dtype, shape)))
