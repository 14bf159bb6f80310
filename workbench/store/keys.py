"""Secret keys with which a store's entries are signed (HMAC-SHA256, RFC 2104).

Each user has one key, in the configuration folder: ``$XDG_CONFIG_HOME/inference-workbench/store.key`` (``~/.config`` where the variable
is not set), or the file that the variable WORKBENCH_KEY names. It is never kept in a store, so that a store from another source cannot
contain entries that appear to be the user's own. A store that is shared by a group has its own key, which is valid for a member once
it is named in the member's configuration folder.
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
    """A secret, and whether it is stored for later processes."""

    secret: bytes
    kept: bool = True

    @property
    def name(self) -> str:
        """Sixteen hexadecimal digits that identify the key and do not reveal it."""
        return hashlib.sha256(b"name of a workbench key:" + self.secret).hexdigest()[:16]

    def sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Keyring:
    """The key that signs entries written to a store, and the trusted keys by name."""

    signing: Key
    known: Mapping[str, Key]

    def signs(self, name: str, signature: str, text: str) -> bool | None:
        """Whether the trusted key of this name signed ``text``; ``None`` where the key is not trusted."""
        key = self.known.get(name)
        return None if key is None else hmac.compare_digest(key.sign(text).encode(), signature.encode())

    def signed(self, text: str) -> str:
        """The text with its signature before it, for lines that are appended to a file."""
        return f"{self.signing.name} {self.signing.sign(text)} {text}"

    def opened(self, signed: str) -> str | None:
        """The text of a :meth:`signed` line; ``None`` where it was changed, or signed with a key that is not trusted."""
        name, _, rest = signed.partition(" ")
        signature, _, text = rest.partition(" ")
        return text if self.signs(name, signature, text) else None


def keyring(root: Path) -> Keyring:
    """The trusted keys for the store at ``root``.

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
    """The user's key, made at first use with mode 600; a key for this process only where it cannot be stored.

    Raises:
        StoreError: the key file exists and cannot be read.
    """
    place = Path(os.environ[PLACE]).expanduser() if os.environ.get(PLACE) else config_folder() / SHARED_KEY
    if place in _unkept:
        return _unkept[place]
    if not place.exists():
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, 0o600)
        except OSError:  # no home folder, or one that cannot be written to
            return _unkept.setdefault(place, Key(secrets.token_bytes(KEY_BYTES), kept=False))
    with contextlib.suppress(OSError):
        if place.stat().st_mode & 0o077:
            place.chmod(0o600)
    return _read(place)


def _open_to(root: Path, group: int) -> None:
    """Let the members of a group read and change a folder and all that the user has in it; what is added belongs to the group."""
    for folder, _, names in os.walk(root):
        for place in (Path(folder), *(Path(folder, name) for name in names)):
            found = place.lstat()
            if found.st_uid == os.getuid() and not place.is_symlink():
                os.chown(place, -1, group)
                place.chmod(found.st_mode & 0o700 | (0o2070 if place.is_dir() else 0o060))


def share(root: Path, group: str) -> None:
    """Give the store a key that the members of a Unix group can read, or accept its existing key; once for each user.

    Raises:
        StoreError: the group does not exist, the user is not a member, or the store's key belongs to another group.
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
            _open_to(root, number)
            _write(place, 0o640)
            os.chown(place, -1, number)
        if place.stat().st_gid != number:
            raise StoreError(
                f"The store {root} is shared with another group than '{group}'. Name that group, or choose another store."
            )
        accepted = config_folder() / ACCEPTED
        accepted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_accepted(place):
            with accepted.open("a", encoding="utf-8") as file:
                file.write(f"{_read(place).name}\n")


def _is_accepted(shared: Path) -> bool:
    try:
        names = (config_folder() / ACCEPTED).read_text(encoding="utf-8").split()
    except OSError:
        return False
    return _read(shared).name in names


def config_folder() -> Path:
    """The folder of the user's settings of this package: ``$XDG_CONFIG_HOME/inference-workbench``."""
    home = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(home) if home else Path.home() / ".config") / "inference-workbench"
    except RuntimeError:  # no home folder is known
        return Path("/nonexistent/inference-workbench")


def _write(place: Path, mode: int) -> None:
    """Write a new key completely or not at all; a key that another process has written first stays."""
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
            f"The key of the store in {place} cannot be read. Restore it, or remove it: a new key is made, and artefacts that were "
            "signed with the old key are made again."
        ) from cause
    if len(secret) != KEY_BYTES:
        raise StoreError(f"The key of the store in {place} is damaged. Remove it: a new key is made.")
    return Key(secret)
