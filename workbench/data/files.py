"""A data file of any kind as arrays by input name, read once for all engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.choices.pixels import AUTO
from workbench.data.images import read_images
from workbench.data.limits import limit_bytes
from workbench.data.npz import read_npz
from workbench.data.tables import read_table

if TYPE_CHECKING:
    import numpy as np

    from workbench.records import Model

TABLES = (".csv", ".tsv")


def arrays_of(
    path: Path, model: Model, pixels: str = AUTO, group_column: str = "", *, data_mib: int = 0
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays in a data file by name (labels as ``y``), and what was done to make them, in words.

    Args:
        path: a folder of images, a table, or an ``.npz`` file.
        model: what they are for.
        pixels: of images, see :mod:`workbench.choices.pixels`.
        group_column: of a table, the column that names groups.
        data_mib: what they may take in memory, in MiB (2**20 bytes); 0: a share of the free memory.

    Raises:
        InputError: missing, not readable, too large, or not of the model's kind.
    """
    limit = limit_bytes(data_mib)
    if path.is_dir():
        return read_images(path, model, pixels, limit)
    if path.suffix.lower() in TABLES:
        return read_table(path, model, limit, group_column)
    return read_npz(path, data_mib), ""
