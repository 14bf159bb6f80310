"""bfloat16 inputs and outputs of a session. NumPy has no such type: arrays are float32 outside a session and uint16 bits inside.

A bfloat16 is the upper half of a float32. The conversion to float32 is exact; the reverse rounds to nearest, ties to even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NAME = "bfloat16"


def to_bits(array: np.ndarray) -> np.ndarray:
    """Numbers of any type as bfloat16 bits: a uint16 array of the same shape, which owns its memory.

    >>> import numpy as np
    >>> to_bits(np.array([1.0, -2.0], np.float32))
    array([16256, 49152], dtype=uint16)
    """
    import ml_dtypes
    import numpy as np

    return np.ascontiguousarray(array).astype(ml_dtypes.bfloat16).reshape(np.shape(array)).view(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_bits`: a float32 array of the same shape; ``bits`` may have any type of 16 bits."""
    import ml_dtypes
    import numpy as np

    found: np.ndarray = bits.view(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    return found


def real(array: np.ndarray) -> np.ndarray:
    """A copy of an array in a NumPy type: bfloat16 of ``ml_dtypes`` becomes float32, other types stay."""
    import numpy as np

    return array.astype(np.float32) if array.dtype.name == NAME else array.copy()
