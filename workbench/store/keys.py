"""Secret keys with which a store's entries are signed (HMAC-SHA256, RFC 2104).

Each user has one key, in the configuration folder: ``$XDG_CONFIG_HOME/inference-workbench/store.key`` (``~/.config`` where the variable
is not set), or the file that the variable WORKBENCH_KEY names. It never lies in a store, so that a store that came from elsewhere cannot
bring entries that pass for the user's own. A store that is shared by a group has a key of its own, which the members' configuration
folders have to name before it counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError, writing

KEY_BYTES = 32
PLACE = "WORKBENCH_KEY"
SHARED_KEY = "store.key"
ACCEPTED = "shared-stores"
_unkept: dict[Path, Key] = {}


@dataclass(frozen=True)
class Key:
    """A secret, and whether it is kept for the next process."""

    secret: bytes
    kept: bool = True

    @property
    def name(self) -> str:
        """Sixteen digits that name the key and do not give it away."""
        return hashlib.sha256(b"name of a workbench key:" + self.secret).hexdigest()[:16]

    def sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Keyring:
    """The key that signs what is written to a store, and those whose signatures count, by name."""

    signing: Key
    known: Mapping[str, Key]

    def signs(self, name: str, signature: str, text: str) -> bool | None:
        """Whether the known key of this name signed ``text``; ``None`` where no such key is known."""
        key = self.known.get(name)
        return None if key is None else hmac.compare_digest(key.sign(text).encode(), signature.encode())


def keyring(root: Path) -> Keyring:
    """The keys that count for the store at ``root``.

    Raises:
        StoreError: a key cannot be read.
    """
    own = user_key()
    shared = root / SHARED_KEY
    if shared.is_file() and _is_accepted(shared):
        key = _read(shared)
        return Keyring(key, {own.name: own, key.name: key})
    return Keyring(own, {own.name: own})


def user_key() -> Key:
    """The user's key, made at first use with mode 600. Where it cannot be kept, one that only this process knows.

    Raises:
        StoreError: there is one that cannot be read.
    """
    place = Path(os.environ[PLACE]).expanduser() if os.environ.get(PLACE) else _folder() / SHARED_KEY
    if place in _unkept:
        return _unkept[place]
    if not place.exists():
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, 0o600)
        except OSError:  # no home folder, or none that can be written to
            return _unkept.setdefault(place, Key(secrets.token_bytes(KEY_BYTES), kept=False))
    with contextlib.suppress(OSError):
        if place.stat().st_mode & 0o077:
            place.chmod(0o600)
    return _read(place)


def share(root: Path, group: str) -> None:
    """Give the store a key that the members of a Unix group can read, or accept the one that it has; once for each user.

    Raises:
        StoreError: there is no such group, the user is not in it, or the store's key belongs to another group.
    """
    import grp

    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise StoreError(
            f"There is no group '{group}' on this machine. Choose one of yours; the command 'id' lists them."
        ) from None
    place = root / SHARED_KEY
    with writing(root):
        if not place.exists():
            os.chown(root, -1, number)
            root.chmod(0o2770)  # new files and folders belong to the group
            _write(place, 0o640)
            os.chown(place, -1, number)
        if place.stat().st_gid != number:
            raise StoreError(
                f"The store {root} is shared with another group than '{group}'. Name that group, or choose another store."
            )
        accepted = _folder() / ACCEPTED
        accepted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_accepted(place):
            with accepted.open("a", encoding="utf-8") as file:
                file.write(f"{_read(place).name}\n")


def _is_accepted(shared: Path) -> bool:
    try:
        names = (_folder() / ACCEPTED).read_text(encoding="utf-8").split()
    except OSError:
        return False
    return _read(shared).name in names


def _folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(home) if home else Path.home() / ".config") / "inference-workbench"
    except RuntimeError:  # no home folder is known
        return Path("/nonexistent/inference-workbench")


def _write(place: Path, mode: int) -> None:
    """Write a new key, whole or not at all; one that another process wrote first stays."""
    draft = place.with_name(f".{uuid.uuid4().hex}")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, place)
    finally:
        draft.unlink()


def _read(place: Path) -> Key:
    try:
        secret = bytes.fromhex(place.read_text(encoding="ascii"))
    except (OSError, ValueError) as cause:
        raise StoreError(
            f"The key of the store in {place} cannot be read. Restore it, or remove it: a new one is made, and what was kept "
            "under the old one is made again."
        ) from cause
    if len(secret) != KEY_BYTES:
        raise StoreError(f"The key of the store in {place} is damaged. Remove it: a new one is made.")
    return Key(secret)
