"""Writing of ``.npz`` files without pickles under every NumPy: ``numpy.savez`` has that option from 2.1 on only."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def write_npz(file: Path | IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, uncompressed, as ``numpy.savez`` does.

    Raises:
        ValueError: an array holds Python objects, which would need a pickle.
    """
    import numpy as np

    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asanyarray(array), allow_pickle=False)
