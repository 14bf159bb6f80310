"""Reading of ``.npz`` files: every part is checked before it is unpacked, and large parts can be mapped."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from workbench.data.limits import check_size, packed_limit
from workbench.errors import InputError, brief

if TYPE_CHECKING:
    import numpy as np

ENDING = ".npy"
MAPPED_BYTES = 2**24
"""Arrays of at least this size in bytes are mapped, smaller ones are read: each mapping needs pages and a file handle."""
MOST_PARTS = 1000
"""Arrays in a file: the header of each is parsed, so that a small file of very many arrays takes minutes."""
_LOCAL_HEADER = 30  # bytes before the name in the header of each part (ZIP specification, APPNOTE 4.3.7)


class _Part(NamedTuple):
    """One array of the file, as its header describes it."""

    info: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    header_bytes: int


def read_npz(path: Path, data_mib: int = 0) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file, by name.

    Args:
        path: the file.
        data_mib: limit of all arrays together, in MiB (2**20 bytes); 0: a share of the free memory, and 1 GiB where they
            take more than 100 times the size of the file.

    Raises:
        InputError: the file is missing or damaged; the arrays take more than that, or are more than 1,000; a part is not an array, holds Python
            objects (loading those would run code), or has a name that is a path out of the file.
    """
    with _Archive(path) as archive:
        parts = archive.parts()
        total = sum(part.info.file_size for part in parts.values())
        limit = packed_limit(total, path.stat().st_size, data_mib)
        check_size(f"The data '{path}' unpack to", total, limit, "give a file with fewer samples")
        return {name: archive.read(part) for name, part in parts.items()}


def map_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed ``.npz`` file: large ones as read-only views of the file, so that several processes share
    one copy in memory and only the used parts are read.

    The file must not change while it is in use, as is the case for files in the store.

    Raises:
        InputError: as :func:`read_npz`.
    """
    with _Archive(path) as archive:
        return {
            name: archive.map(part) if _can_be_mapped(part) else archive.read(part)
            for name, part in archive.parts().items()
        }


def _can_be_mapped(part: _Part) -> bool:
    return part.info.compress_type == zipfile.ZIP_STORED and part.info.file_size >= MAPPED_BYTES


class _Archive:
    """An open ``.npz`` file; all errors of the libraries that read it become an :class:`InputError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = f"The data '{path}'"

    def __enter__(self) -> Self:
        if not self._path.is_file():
            raise InputError(
                f"{self._what} was not found. Give data as 'auto', 'digits', 'random', or the path of an .npz file."
            )
        try:
            self._file = self._path.open("rb")
        except OSError as cause:
            raise InputError(f"{self._what} cannot be read: {brief(cause, 150)}. Check its permissions.") from cause
        try:
            self._zip = zipfile.ZipFile(self._file)
        except Exception as cause:
            self._file.seek(0)
            single = self._file.read(6) == b"\x93NUMPY"
            self._file.close()
            if single:
                raise InputError(
                    f"{self._what} is a single array. Save it by name: numpy.savez('data.npz', x=array)."
                ) from cause
            raise self._unreadable() from cause
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def _unreadable(self, found: str = "") -> InputError:
        reason = f" ({found})" if found else ""
        return InputError(
            f"{self._what} is not a readable .npz file{reason}. Make one with numpy.savez('data.npz', x=images, y=labels)."
        )

    def parts(self) -> dict[str, _Part]:
        """The arrays of the file, from its directory and the headers of its arrays; nothing is unpacked."""
        found: dict[str, _Part] = {}
        count = len(self._zip.infolist())
        if count > MOST_PARTS:
            raise InputError(
                f"{self._what} holds {count:,} arrays, of which at most {MOST_PARTS:,} are read. Save only the model's inputs and labels."
            )
        for info in self._zip.infolist():
            name = self._name(info)
            if name in found:
                raise InputError(f"{self._what} holds two arrays named '{name}'. Save each name once.")
            try:
                with self._zip.open(info) as file:
                    dtype, shape, fortran = _header(file)
                    header_bytes = file.tell()
            except Exception as cause:
                raise self._unreadable() from cause
            if dtype.hasobject:
                raise InputError(
                    f"{self._what} holds Python objects, and loading those would run code. Save plain arrays of numbers."
                )
            if math.prod(shape) * dtype.itemsize != info.file_size - header_bytes:
                raise self._unreadable(f"the size of '{name}' is not that of its shape {list(shape)}")
            found[name] = _Part(info, dtype, shape, fortran, header_bytes)
        return found

    def _name(self, info: zipfile.ZipInfo) -> str:
        name = info.filename
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            raise InputError(
                f"{self._what} has a part named '{name}', a path out of the file. Save arrays under plain names."
            )
        if not name.endswith(ENDING):
            raise InputError(f"{self._what} has a part '{name}' that is not an array. Save it with numpy.savez.")
        return name.removesuffix(ENDING)

    def read(self, part: _Part) -> np.ndarray:
        import numpy as np

        try:
            with self._zip.open(part.info) as file:
                array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
                return array
        except Exception as cause:
            raise self._unreadable() from cause

    def map(self, part: _Part) -> np.ndarray:
        import numpy as np

        order: Any = "F" if part.fortran else "C"
        start = self._start(part.info) + part.header_bytes
        mapped = np.memmap(self._path, part.dtype, "r", start, part.shape, order)
        return mapped.view(np.ndarray)

    def _start(self, info: zipfile.ZipInfo) -> int:
        """The offset of a stored part's bytes: after its local header, whose lengths may differ from the directory's."""
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise self._unreadable()
        name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
        return info.header_offset + _LOCAL_HEADER + int(name_bytes) + int(extra_bytes)


def _header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and order of the array whose ``.npy`` header begins at the position of ``file``."""
    import numpy as np

    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return dtype, shape, fortran
