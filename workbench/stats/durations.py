"""Durations of calls in whole nanoseconds, eight bytes each, held in memory or read from a file when they are needed.

A list of Python integers takes forty bytes for each, and an engine that answers in ten microseconds is called a hundred
thousand times a second. A sweep would fill the memory of the process that drives the workers.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np

NANOSECONDS = "q"  # array's and struct's name of a signed integer of 64 bits
WIDTH = 8


class Durations(Sequence[int]):
    """An immutable sequence of integers, equal to any sequence of the same integers.

    Example:
        >>> durations = Durations([1_200, 900, 1_000])
        >>> len(durations), durations[1], durations == [1_200, 900, 1_000]
        (3, 900, True)

    """

    __slots__ = ("_count", "_file", "_start", "_values")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._values = array(NANOSECONDS, values)
        self._file: mmap.mmap | None = None
        self._start, self._count = 0, len(self._values)

    @classmethod
    def on_disk(cls, path: Path, lengths: Sequence[int]) -> list[Durations]:
        """One sequence for each of ``lengths``, stored consecutively in the ``.npy`` file at ``path`` (shape (n,), int64).

        The file stays mapped, not open. It may be removed or replaced while it is in use, but must not be truncated.

        Raises:
            ValueError: the file holds values of another type or shape, or another number of values.
            OSError: it cannot be read.
        """
        import numpy as np

        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            begins = file.tell()
            if shape != (sum(lengths),) or dtype != np.int64:
                raise ValueError(f"{path} holds {shape} of {dtype}, not {sum(lengths)} whole numbers.")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        parts = []
        for length in lengths:
            part = cls()
            part._file, part._start, part._count = mapped, begins, length
            parts.append(part)
            begins += length * WIDTH
        return parts

    def _loaded(self) -> array[int]:
        if self._file is None:
            return self._values
        values = array(NANOSECONDS, self._file[self._start : self._start + self._count * WIDTH])
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)  # otherwise the pages that were read count as this process's memory
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        return np.array(self._loaded(), dtype=np.int64 if dtype is None else dtype)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(self._loaded())

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Durations: ...
    def __getitem__(self, place: int | slice) -> int | Durations:
        found = self._loaded()[place]
        return found if isinstance(found, int) else Durations(found)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str | bytes):
            return len(self) == len(other) and list(self) == list(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Durations, (self._loaded(),)

    def __repr__(self) -> str:
        return f"Durations({list(self)})"
