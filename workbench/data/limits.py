"""The limit of memory for the unpacked data of one experiment."""

from __future__ import annotations

from workbench.errors import InputError
from workbench.system.memory import free_bytes, in_gib

SHARE = 0.25
"""Share of the free memory. The test samples are copied from the data, and libraries need memory as well."""

PACKED_TIMES, PACKED_BYTES = 100, 2**30
"""Arrays that unpack to more than this many times the size of their file are nearly empty, by mistake or as an attack. Unless the
user sets a limit, they may take at most this many bytes."""


def limit_bytes(data_mib: int = 0) -> int:
    """Limit of unpacked data in bytes: ``data_mib`` MiB (2**20 bytes), or with 0 a quarter of the memory that is free now.

    Example:
        >>> limit_bytes(64)
        67108864

    """
    return data_mib * 2**20 if data_mib else int(SHARE * free_bytes())


def packed_limit(unpacked_bytes: int, file_bytes: int, data_mib: int = 0) -> int:
    """Limit of a compressed file's arrays in bytes: :func:`limit_bytes`, or less where their compression ratio is implausible."""
    limit = limit_bytes(data_mib)
    return min(limit, PACKED_BYTES) if not data_mib and unpacked_bytes > PACKED_TIMES * file_bytes else limit


def check_size(what: str, size_bytes: int, limit: int, fix: str) -> None:
    """Refuse data that need more memory than allowed, before they are unpacked.

    Args:
        what: the subject of the message, such as "The data 'x.npz' unpack to".
        size_bytes: their size in memory, in bytes.
        limit: the largest size allowed, in bytes.
        fix: an alternative for the message, such as "give a folder with fewer images".

    Raises:
        InputError: ``size_bytes`` is more than ``limit``.
    """
    if size_bytes > limit:
        mib = -(-size_bytes // 2**20)
        raise InputError(
            f"{what} {in_gib(size_bytes)}, and the limit is {in_gib(limit)}. Raise it with 'data_mib' (option --data-mib {mib}), or {fix}."
        )
