"""A copy of the user's model in the store, made when a run begins, from which all steps of the run read.

A training loop may overwrite the file with its next checkpoint while a run reads, converts or scores it. Every result is stored
under the digest of the model, so all steps have to read the same bytes that were digested.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.errors import InputError, writing
from workbench.models import safety
from workbench.models.inspection import digest_of
from workbench.models.onnx_file import external_files
from workbench.records import Model
from workbench.store import Draft, Store, key_of

KIND = "original"
FILES = "files"  # a separate folder: a model's file may be named manifest.json
ATTEMPTS = 3
FICLONE = 0x40049409
"""The request of Linux that makes a file share the blocks of another until either is written to (``linux/fs.h``)."""


@dataclass(frozen=True)
class Original:
    """A model's copy in the store and the SHA-256 of its content (see :func:`workbench.models.inspection.digest_of`)."""

    path: Path
    digest: str


def kept_original(path: str | Path, kind: str, store: Store) -> Original:
    """Copy a model into the store, once for each content; later calls find the copy.

    ``kind`` is its format. Separate files with the weights of an ``.onnx`` file are copied as well. On file systems that can
    share blocks (Btrfs, XFS, bcachefs) the copy takes no space. It is not a hard link, which would change with its source.

    Raises:
        InputError: it cannot be read, or it changed during each attempt to copy it.
        StoreError: the copy cannot be written.
    """
    place = Path(path).expanduser().absolute()
    if kind == "saved_model":
        safety.check_folder(place)  # a link that leaves the folder would become an ordinary file in the copy
    for _ in range(ATTEMPTS):
        digest = digest_of(place)
        try:
            made = store.make(KIND, original_key(digest, kind, place), partial(_fill, place, digest))
        except _Changed:
            continue
        return Original(made.folder / FILES / made.facts["name"], digest)
    raise InputError(
        f"The model at '{path}' changed each time while it was read; another program is writing it. Wait until it is saved, or "
        "give a copy of it."
    )


def path_of(model: Model, store: Store) -> Path:
    """The path of the copy of a model that was read before.

    Raises:
        InputError: it is no longer in the store, or is damaged.
    """
    found = store.entry(
        KIND, original_key(model.digest, model.format, Path(model.path)), lambda facts: Path(facts["name"])
    )
    if found is None:
        raise InputError(f"The store's copy of '{model.path}' is damaged or was removed. Start the run again.")
    return found.folder / FILES / str(found.facts["name"])


class _Changed(Exception):  # noqa: N818 - never leaves this module
    """The copy differs from the digest."""


def original_key(digest: str, kind: str, place: Path) -> str:
    """The key of a model's copy, by the SHA-256 of its content and its format."""
    # libraries choose the format of a file by the ending of its name
    return key_of(digest=digest, kind=kind, ending="" if kind == "saved_model" else place.suffix.lower())


def _fill(place: Path, digest: str, draft: Draft) -> None:
    folder = draft.folder / FILES
    with writing(folder):
        folder.mkdir()
    copy = folder / place.name
    try:
        for source, target in _copies(place, copy):
            _copy(source, target)
    except FileNotFoundError as cause:
        raise _Changed from cause
    if digest_of(copy) != digest:
        raise _Changed
    draft.facts = {"name": place.name}


def _copies(place: Path, copy: Path) -> Iterator[tuple[Path, Path]]:
    """The files that :func:`digest_of` covers, with the path of each copy."""
    if place.is_dir():
        copy.mkdir()
        for each in place.rglob("*"):
            target = copy / each.relative_to(place)
            if each.is_file():
                yield each, target
            elif each.is_symlink() and each.is_dir():  # to another folder of the model, which is copied as such
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(os.path.relpath(each.resolve(), each.parent.resolve()))
        return
    yield place, copy
    if place.suffix.lower() == ".onnx":
        folder = place.resolve().parent
        yield from ((each, copy.parent / each.relative_to(folder)) for each in external_files(place))


def _copy(source: Path, target: Path) -> None:
    """Copy a file's content, by sharing its blocks where the file system can."""
    with source.open("rb") as old, writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as new:
            if not _shares_blocks(old.fileno(), new.fileno()):
                shutil.copyfileobj(old, new, 1 << 20)


def _shares_blocks(source: int, target: int) -> bool:
    """Make the open file ``target`` share the blocks of ``source``, and return whether the file system supports that."""
    try:
        import fcntl

        fcntl.ioctl(target, FICLONE, source)
    except (ImportError, OSError):
        return False
    return True
