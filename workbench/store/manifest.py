"""The manifest of an artefact: a digest of each file, the facts, a digest over all of that, and a signature of it."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.store.keys import Keyring

MANIFEST = "manifest.json"
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)
"""Errors that say nothing about the artefact: files or memory ran out, or it belongs to another user."""


class DamagedError(Exception):
    """An artefact is not as it was written."""


@dataclass(frozen=True)
class Entry:
    """An artefact whose files and facts are as they were written.

    ``own`` says whether they were signed with a key that counts; where it is false, somebody else may have written them.
    """

    folder: Path
    files: dict[str, str]  # SHA-256 by relative name
    facts: Any
    own: bool


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written(folder: Path, kind: str, key: str, facts: Any, ring: Keyring) -> str:
    """The text of the manifest for the files in ``folder``."""
    files = {name: file_digest(folder / name) for name in _names(folder)}
    facts = json.loads(json.dumps(facts, allow_nan=False))  # as they will be read
    digest = _digest(kind, key, files, facts)
    signed = {"digest": digest, "key": ring.signing.name, "signature": ring.signing.sign(digest)}
    return json.dumps({"files": files, "facts": facts, **signed}, indent=1, allow_nan=False)


def read(folder: Path, kind: str, key: str, ring: Keyring) -> Entry:
    """The artefact in ``folder``, after a comparison of everything in it with its manifest.

    Raises:
        DamagedError: something differs, is missing, or is there and should not be.
        OSError: it cannot be read now, see :data:`SHORT`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["files"]
        own = _is_own(manifest, kind, key, ring)
        if sorted(files) != list(_names(folder)) or not all(map(_stays_inside, files)):
            raise DamagedError("other files than the manifest names")
        if any(file_digest(folder / name) != digest for name, digest in files.items()):
            raise DamagedError("a file differs from its digest")
        return Entry(folder, files, manifest["facts"], own)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        if isinstance(cause, OSError) and cause.errno in SHORT:
            raise
        raise DamagedError(str(cause)) from cause


def signed(path: Path, ring: Keyring) -> bool:
    """Whether a known key signed the digest in the manifest at ``path``; what the digest is of is not looked at."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return bool(ring.signs(manifest["key"], manifest["signature"], manifest["digest"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_own(manifest: dict[str, Any], kind: str, key: str, ring: Keyring) -> bool:
    """Whether a known key signed it; the digest over files and facts has to fit in any case."""
    if not {"digest", "key", "signature"} & manifest.keys():
        return False  # written by an earlier version
    digest = _digest(kind, key, manifest["files"], manifest["facts"])
    if manifest["digest"] != digest:
        raise DamagedError("the facts differ from their digest")
    signed = ring.signs(manifest["key"], manifest["signature"], digest)
    if signed is False:
        raise DamagedError("the signature does not fit")
    return bool(signed)


def _digest(kind: str, key: str, files: dict[str, str], facts: Any) -> str:
    """SHA-256 over everything that is believed, and the place where it belongs."""
    text = json.dumps([kind, key, files, facts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _names(folder: Path) -> Iterator[str]:
    """The files below ``folder`` by their relative names, sorted, without the manifest."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return iter(sorted(name for name in found if name != MANIFEST))


def _stays_inside(name: str) -> bool:
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
