"""bfloat16 at the border of a session: NumPy has no such type, so arrays are float32 outside, and its 16 bits inside.

A bfloat16 is the upper half of a float32: turning one into a float32 is exact, and back it is rounded to nearest, ties to even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NAME = "bfloat16"


def to_bits(array: np.ndarray) -> np.ndarray:
    """Numbers of any type as the bits of bfloat16: an array of uint16 of the same shape, which owns its memory.

    >>> to_bits(np.array([1.0, -2.0], np.float32))
    array([16256, 49152], dtype=uint16)
    """
    import ml_dtypes
    import numpy as np

    return np.ascontiguousarray(array).astype(ml_dtypes.bfloat16).reshape(np.shape(array)).view(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_bits`, as float32: ``bits`` is of any type of 16 bits."""
    import ml_dtypes
    import numpy as np

    found: np.ndarray = bits.view(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    return found


def real(array: np.ndarray) -> np.ndarray:
    """A copy of an array in a type of NumPy's own: bfloat16 of ``ml_dtypes`` as float32, everything else as it is."""
    import numpy as np

    return array.astype(np.float32) if array.dtype.name == NAME else array.copy()
