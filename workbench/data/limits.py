"""How much memory the data of one experiment may take once they are unpacked."""

from __future__ import annotations

from workbench.errors import InputError
from workbench.system.memory import free_bytes, in_gib

SHARE = 0.25
"""Of the free memory. The samples that are tested on are copied out of what was read, and libraries need room as well."""

PACKED_TIMES, PACKED_BYTES = 100, 2**30
"""Arrays that unpack to more than so many times the size of their file hold next to nothing, by mistake or as an attack: without a
limit of the user's own they may take so many bytes at most."""


def limit_bytes(data_mib: int = 0) -> int:
    """Bytes that unpacked data may take: ``data_mib`` MiB (2**20 bytes), or with 0 a quarter of the memory that is free now."""
    return data_mib * 2**20 if data_mib else int(SHARE * free_bytes())


def packed_limit(unpacked_bytes: int, file_bytes: int, data_mib: int = 0) -> int:
    """Bytes that the arrays of a compressed file may take: as :func:`limit_bytes`, or less where they are packed implausibly well."""
    limit = limit_bytes(data_mib)
    return min(limit, PACKED_BYTES) if not data_mib and unpacked_bytes > PACKED_TIMES * file_bytes else limit


def check_size(what: str, size_bytes: int, limit: int, fix: str) -> None:
    """Refuse data that would take more memory than allowed, before any of it is unpacked.

    Args:
        what: the subject of the message, such as "The data 'x.npz' unpack to".
        size_bytes: what they take in memory.
        limit: what they may take.
        fix: what else the user can do, such as "give a folder with fewer images".

    Raises:
        InputError: ``size_bytes`` is more than ``limit``.
    """
    if size_bytes > limit:
        mib = -(-size_bytes // 2**20)
        raise InputError(
            f"{what} {in_gib(size_bytes)}, and the limit is {in_gib(limit)}. Raise it with 'data_mib' (option --data-mib {mib}), or {fix}."
        )
