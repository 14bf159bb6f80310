"""The manifest of an artefact: a digest of each file, the facts, a digest over both, and a signature of that digest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.store.keys import Keyring

MANIFEST = "manifest.json"
MOST_BYTES = 2**28
"""Largest size of a manifest; the results of a run with thousands of layers take a hundredth of it."""
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)
"""Errors that are not caused by the artefact: too many open files, no memory, or no permission."""


class DamagedError(Exception):
    """An artefact differs from what was written."""


@dataclass(frozen=True)
class Entry:
    """An artefact whose files and facts are as they were written.

    ``own`` is whether they were signed with a trusted key; where it is false, another user may have written them.
    """

    folder: Path
    files: dict[str, str]  # SHA-256 by relative name
    facts: Any
    own: bool


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written(folder: Path, kind: str, key: str, facts: Any, ring: Keyring, made: dict[str, Any]) -> str:
    """The text of the manifest for the files in ``folder``; ``made`` says how they were made, which no digest covers."""
    files = {name: file_digest(folder / name) for name in _names(folder)}
    facts = json.loads(json.dumps(facts, allow_nan=False))  # in the form in which they are read back
    digest = content_digest(kind, key, files, facts)
    signed = {"digest": digest, "key": ring.signing.name, "signature": ring.signing.sign(digest)}
    return json.dumps({"files": files, "facts": facts, **signed, "made": made}, indent=1, allow_nan=False)


def read(folder: Path, kind: str, key: str, ring: Keyring) -> Entry:
    """The artefact in ``folder``, after a comparison of all its files with its manifest.

    Raises:
        DamagedError: a file or the facts differ, a file is missing, or there is a further file.
        OSError: it cannot be read now, see :data:`SHORT`.
    """
    try:
        found = _described(folder, kind, key, ring)
        if any(file_digest(folder / name) != digest for name, digest in found.files.items()):
            raise DamagedError("a file differs from its digest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        if isinstance(cause, OSError) and cause.errno in SHORT:
            raise
        raise DamagedError(str(cause)) from cause
    return found


def glance(folder: Path, kind: str, key: str, ring: Keyring) -> Entry | None:
    """The artefact in ``folder`` as its manifest describes it, if all its files are there; their content is not compared."""
    try:
        return _described(folder, kind, key, ring)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DamagedError):
        return None


def _described(folder: Path, kind: str, key: str, ring: Keyring) -> Entry:
    manifest = parsed(folder / MANIFEST)
    files: dict[str, str] = manifest["files"]
    own = _is_own(manifest, kind, key, ring)
    if sorted(files) != list(_names(folder)) or not all(map(stays_inside, files)):
        raise DamagedError("other files than the manifest names")
    return Entry(folder, files, manifest["facts"], own)


def signed(path: Path, ring: Keyring) -> bool:
    """Whether a trusted key signed the digest in the manifest at ``path``; the files are not compared with the digest."""
    try:
        manifest = parsed(path)
        return bool(ring.signs(manifest["key"], manifest["signature"], manifest["digest"]))
    except (DamagedError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def parsed(path: Path) -> Any:
    """The JSON in a file of the store. A pipe or a device in place of a file does not block.

    Raises:
        DamagedError: it is not a regular file, is larger than :data:`MOST_BYTES`, or does not hold valid JSON.
        OSError: it cannot be read.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise DamagedError("it is not a regular file, or it is too large")
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError) as cause:
            raise DamagedError(str(cause)) from cause


def _is_own(manifest: dict[str, Any], kind: str, key: str, ring: Keyring) -> bool:
    """Whether a trusted key signed it; the digest over files and facts is checked in either case."""
    if not {"digest", "key", "signature"} & manifest.keys():
        return False  # written by an earlier version
    digest = content_digest(kind, key, manifest["files"], manifest["facts"])
    if manifest["digest"] != digest:
        raise DamagedError("the facts differ from their digest")
    signed = ring.signs(manifest["key"], manifest["signature"], digest)
    if signed is False:
        raise DamagedError("the signature is not valid")
    return bool(signed)


def content_digest(kind: str, key: str, files: dict[str, str], facts: Any) -> str:
    """SHA-256 over kind, key, the SHA-256 of each file by its name, and facts."""
    text = json.dumps([kind, key, files, facts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _names(folder: Path) -> Iterator[str]:
    """Relative names of the files below ``folder``, sorted, without the manifest."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return iter(sorted(name for name in found if name != MANIFEST))


def stays_inside(name: str) -> bool:
    """Whether a relative name leads to a place below its folder."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
