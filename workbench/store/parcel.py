"""Artefacts on their way from one store to another: a description as JSON, and their files in parts.

On arrival names and sizes are checked, every file and the facts are compared with their digests, and the artefact is signed with
the key of the user there. Nothing in an artefact is executed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import StoreError, writing
from workbench.store.manifest import MANIFEST, content_digest, file_digest, stays_inside
from workbench.store.store import KINDS, Store

PART_BYTES = 2**23
"""Bytes that travel at once."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
MEASURED = ("accuracy", "checkpoint", "cohort", "layers", "load", "part", "peaks", "timing")
"""Kinds whose key does not determine the content: a later one replaces an earlier one. Of the others the one that exists stays."""


@dataclass(frozen=True)
class Parcel:
    """The description of an artefact that travels."""

    kind: str
    key: str
    files: Mapping[str, str]  # SHA-256 by relative name
    sizes: Mapping[str, int]  # bytes by relative name
    facts: Any
    digest: str  # over kind, key, files and facts

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.key}"


class Piece(NamedTuple):
    """A part of one file of a parcel, small enough to travel at once."""

    parcel: int  # its place in the list of parcels
    file: str
    offset: int
    size: int


def parcel_of(store: Store, kind: str, key: str) -> Parcel | None:
    """The description of an artefact; ``None`` where the store does not have it, or must not use it."""
    found = store.entry(kind, key)
    if found is None:
        return None
    sizes = {name: (found.folder / name).stat().st_size for name in found.files}
    return Parcel(kind, key, found.files, sizes, found.facts, content_digest(kind, key, found.files, found.facts))


def check(parcel: Parcel) -> None:
    """Check what came from elsewhere, before anything is written for it.

    Raises:
        StoreError: the kind does not exist, a name leads out of its folder, or the facts differ from their digest.
    """
    names = [*parcel.files]
    good = (
        parcel.kind in KINDS
        and _KEY.fullmatch(parcel.key)
        and [*parcel.sizes] == names
        and MANIFEST not in names
        and all(name and "\0" not in name and stays_inside(name) for name in names)
        and all(_DIGEST.fullmatch(digest) for digest in parcel.files.values())
        and all(isinstance(size, int) and size >= 0 for size in parcel.sizes.values())
    )
    if not good:
        raise StoreError(f"The artefact {parcel.name} was not taken: its description is not that of an artefact.")
    if content_digest(parcel.kind, parcel.key, dict(parcel.files), parcel.facts) != parcel.digest:
        raise StoreError(f"The artefact {parcel.name} was not taken: it differs from its digest.")


def is_there(store: Store, parcel: Parcel) -> bool:
    """Whether the store has the artefact already: the same content, or another one of a kind that is not measured."""
    found = store.entry(parcel.kind, parcel.key)
    if found is None:
        return False
    return (
        parcel.kind not in MEASURED
        or content_digest(parcel.kind, parcel.key, found.files, found.facts) == parcel.digest
    )


def has_other_files(store: Store, parcel: Parcel) -> bool:
    """Whether the store has the artefact with other files, such as another build of an engine."""
    found = store.entry(parcel.kind, parcel.key)
    return found is not None and dict(found.files) != dict(parcel.files)


def pieces(parcels: Sequence[Parcel]) -> Iterator[list[Piece]]:
    """The parts of all files, in groups that travel at once."""
    group: list[Piece] = []
    for place, parcel in enumerate(parcels):
        for name, size in parcel.sizes.items():
            offset = 0
            while offset < size or not size:
                room = PART_BYTES - sum(piece.size for piece in group)
                if not room:
                    yield group
                    group, room = [], PART_BYTES
                count = min(room, size - offset)
                group.append(Piece(place, name, offset, count))
                offset += count
                if not size:
                    break
    if group:
        yield group


def read_pieces(store: Store, parcels: Sequence[Parcel], group: Iterable[Piece]) -> bytes:
    """The bytes of a group of parts, one after another.

    Raises:
        StoreError: a file has fewer bytes than its description says.
    """
    found, group = b"", list(group)
    _check_all(parcels, group)
    for piece in group:
        parcel = parcels[piece.parcel]
        path = store.path(parcel.kind, parcel.key) / piece.file
        if piece.file not in parcel.files:
            raise StoreError(f"The artefact {parcel.name} has no file '{piece.file}'.")
        with path.open("rb") as file:
            file.seek(piece.offset)
            part = file.read(piece.size)
        if len(part) != piece.size:
            raise StoreError(f"The artefact {parcel.name} changed while it was read. Run it again.")
        found += part
    return found


def write_pieces(folder: Path, parcels: Sequence[Parcel], group: Iterable[Piece], content: bytes) -> None:
    """Write a group of parts into a folder in which artefacts are put together.

    Raises:
        StoreError: it cannot be written, or a part does not continue its file.
    """
    place, group = 0, list(group)
    _check_all(parcels, group)
    for piece in group:
        parcel = parcels[piece.parcel]
        path = folder / parcel.kind / parcel.key / piece.file
        if piece.file not in parcel.files or piece.offset + piece.size > parcel.sizes[piece.file]:
            raise StoreError(f"The artefact {parcel.name} was not taken: a part does not fit its description.")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if piece.offset else "wb") as file:
                if file.tell() != piece.offset:
                    raise StoreError(f"The artefact {parcel.name} was not taken: a part of it is missing.")
                file.write(content[place : place + piece.size])
        place += piece.size


def _check_all(parcels: Sequence[Parcel], group: Iterable[Piece]) -> None:
    for place in {piece.parcel for piece in group}:
        check(parcels[place])


def publish(store: Store, parcels: Iterable[Parcel], folder: Path) -> None:
    """Put complete artefacts from a folder into the store, signed with this user's key, and remove the folder.

    Raises:
        StoreError: a file differs from its digest, or the store cannot be written.
    """
    try:
        for parcel in parcels:
            check(parcel)
            _publish(store, parcel, folder / parcel.kind / parcel.key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(store: Store, parcel: Parcel, arrived: Path) -> None:
    for name, digest in parcel.files.items():
        if not (arrived / name).is_file() or file_digest(arrived / name) != digest:
            raise StoreError(f"The artefact {parcel.name} was not taken: the file '{name}' differs from its digest.")
    with store.create(parcel.kind, parcel.key, instead=lambda: not is_there(store, parcel)) as draft:
        with writing(draft.folder):
            for name in parcel.files:
                (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (arrived / name).rename(draft.folder / name)
        draft.step, draft.facts = parcel.kind, parcel.facts
