"""Data files of all kinds as arrays by input name, read once for all engines."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.data.array_names import NO_COLUMNS, Columns
from workbench.data.images import read_images
from workbench.data.limits import limit_bytes
from workbench.data.npz import read_npz
from workbench.data.tables import read_table
from workbench.errors import InputError
from workbench.records import Model
from workbench.settings.pixels import AUTO

if TYPE_CHECKING:
    import numpy as np

TABLES = (".csv", ".tsv")
ATTEMPTS = 3


def arrays_of(
    path: Path, model: Model, pixels: str = AUTO, columns: Columns = NO_COLUMNS, *, data_mib: int = 0
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays in a data file by name (labels of a folder as ``y``), and a phrase that describes their preparation.

    Args:
        path: a folder of images, a table, or an ``.npz`` file.
        model: the model that takes them.
        pixels: of images, see :mod:`workbench.settings.pixels`.
        columns: of a table, those that hold labels and groups.
        data_mib: limit of their memory, in MiB (2**20 bytes); 0: a share of the free memory.

    Raises:
        InputError: the file is missing, not readable, too large, does not fit the model, or changed during each attempt to read it.
    """
    for _ in range(ATTEMPTS):
        before = _states(path)
        try:
            found = _read(path, model, pixels, columns, data_mib)
        except InputError:
            if _states(path) == before:
                raise
        else:
            if _states(path) == before:
                return found
    raise InputError(
        f"The data at '{path}' changed each time while they were read; another program is writing them. Wait until they are saved, "
        "or give a copy of them."
    )


def _read(path: Path, model: Model, pixels: str, columns: Columns, data_mib: int) -> tuple[dict[str, np.ndarray], str]:
    limit = limit_bytes(data_mib)
    if path.is_dir():
        return read_images(path, model, pixels, limit)
    if path.suffix.lower() in TABLES:
        return read_table(path, model, limit, columns)
    return read_npz(path, data_mib), ""


def _states(path: Path) -> list[tuple[str, int, int, int]]:
    """Name, inode, size and time of the last change of each file. Images and tables are read in two passes, so that a file that is
    written over in between would be read by the header or the range of values of its earlier content.
    """
    found = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        with suppress(OSError):  # missing, or removed just now
            state = file.stat()
            found.append((str(file), state.st_ino, state.st_size, state.st_mtime_ns))
    return found
