"""The store: a folder of artefacts, each written whole or not at all, locked, signed, and verified before use.

Layout below the root (``./.workbench``, or what the variable WORKBENCH_STORE names)::

    <kind>/<key>/            one artefact: its files, and manifest.json with its facts, digests and a signature
    cache/                   what libraries keep between runs, such as compiled kernels and fonts
    logs/                    what worker processes printed
    runs/<time>-<id>.jsonl   one line per event of each run, appended as it happens
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from workbench.errors import InputError, StoreError, brief, writing
from workbench.records import CPU, FORMAT, from_json
from workbench.store.keys import Keyring, keyring, share
from workbench.store.manifest import MANIFEST, Entry, file_digest, read, signed, written

TRUST, SHARED = "WORKBENCH_TRUST_STORE", "WORKBENCH_SHARED_STORE"
SHOWN = ("results",)
"""Kinds that are shown to people and that nothing is made from: they need no signature."""
MOST_LOOKED_AT = 500
ABANDONED_S = 24 * 3600  # unfinished folders older than this were left by a crash

R = TypeVar("R")
Check = Callable[[Any], object] | None
__all__ = ["MANIFEST", "Draft", "Made", "Store", "file_digest", "key_of"]


def key_of(**parts: Any) -> str:
    """SHA-256 over the parts as sorted JSON: equal parts, equal key, in every process and version of Python."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def trusted() -> bool:
    """Whether the user has said that entries that somebody else signed may be used."""
    return os.environ.get(TRUST, "") not in ("", "0")


class Store:
    """A folder of artefacts. Safe for several processes at once; nothing in it is ever changed in place."""

    def __init__(self, root: str | Path | None = None) -> None:
        place = os.fspath(root or os.environ.get("WORKBENCH_STORE") or ".workbench")
        self.root = Path(os.path.expanduser(place)).absolute()  # noqa: PTH111 - Path.expanduser raises for unknown users

    @classmethod
    def of(cls, given: Store | str | Path | None) -> Store:
        """The store that a caller named: a store itself, the path of its folder, or ``None`` (and "") for the usual one.

        Raises:
            InputError: it is something else.
        """
        if isinstance(given, Store):
            return given
        if given is None or isinstance(given, (str, os.PathLike)):
            return cls(given or None)
        raise InputError(
            f"'store' must be the path of a folder or a Store; found a {type(given).__name__}. Choose for example '.workbench'."
        )

    def prepare(self) -> Store:
        """Make the folder and prove that it can be written to.

        Raises:
            StoreError: no permission, a full disk, a path through a file; the text says which.
        """
        with writing(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close_to_others()
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
            self._sweep()
        return self

    def _close_to_others(self) -> None:
        """What is in a store may be private. A store that others may write to was opened to them on purpose."""
        group = os.environ.get(SHARED)
        if group:
            os.umask(0o007)
            share(self.root, group)
            self.__dict__.pop("keyring", None)
            return
        found = self.root.stat()
        is_store = (self.root / "locks").is_dir()  # and not a folder with other things in it
        if found.st_uid == os.getuid() and is_store and found.st_mode & 0o077 and not found.st_mode & 0o022:
            self.root.chmod(found.st_mode & 0o700)

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    @property
    def cache_env(self) -> dict[str, str]:
        """Environment variables that make libraries keep their caches and settings in the store, not in the home folder."""
        cache = self.root / "cache"
        folders = {"CUDA_CACHE_PATH": "cuda", "KERAS_HOME": "keras", "MPLCONFIGDIR": "matplotlib", "XDG_CACHE_HOME": ""}
        return {name: str(cache / folder) for name, folder in folders.items()}

    def kept_by(self, device: str) -> tuple[Path, ...]:
        """Folders of the cache that a process that measures on ``device`` may write to: kernels that CUDA compiles at their first use."""
        if device == CPU:
            return ()
        folder = Path(self.cache_env["CUDA_CACHE_PATH"])
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return (folder,)

    def place_of(self, path: Path) -> str:
        """The path as a record keeps it: within the store where it lies there, so that the store may be moved."""
        root, whole = self.root.absolute(), path.absolute()
        return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)

    @cached_property
    def keyring(self) -> Keyring:
        """The keys whose signatures count here."""
        return keyring(self.root)

    def entry(self, kind: str, key: str, check: Check = None) -> Entry | None:
        """The artefact if it is there, every file and all facts are as they were written, and it may be used.

        One that is damaged is set aside. So is one whose facts ``check`` does not take, whatever it raises: another version wrote
        them. One that was not signed with a key that counts is left where it is and not used, unless it holds results of a run, which
        are only shown, or the user trusts the store (variable WORKBENCH_TRUST_STORE).
        """
        folder = self.path(kind, key)
        if not os.path.lexists(folder):
            return None
        ring = self.keyring
        try:
            found = read(folder, kind, key, ring)
            if not (found.own or kind in SHOWN or trusted()):
                return None
            if check:
                check(found.facts)
        except OSError as cause:
            raise StoreError(
                f"Could not read {folder}: {brief(cause)}. Free what is short, or ask its owner."
            ) from cause
        except Exception:  # whatever a check raises on facts of a wrong kind
            with writing(folder):
                folder.rename(folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}"))
            return None
        return found

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of the artefact, as :meth:`entry` has it."""
        found = self.entry(kind, key)
        return found.folder if found else None

    def facts(self, kind: str, key: str, check: Check = None) -> Any:
        """The JSON that was stored with an artefact, or ``None`` where :meth:`entry` has none."""
        found = self.entry(kind, key, check)
        return found.facts if found else None

    def record(self, kind: str, key: str, record: type[R]) -> R | None:
        """The facts of an artefact as a record; ``None`` where there are none that make one."""
        facts = self.facts(kind, key, lambda found: from_json(record, found))
        return None if facts is None else from_json(record, facts)

    def foreign(self, kind: str = "*", most: int = MOST_LOOKED_AT) -> int:
        """How many artefacts were signed by nobody whose key counts, of the first ``most`` of this kind; results are not counted."""
        found = 0
        for path in itertools.islice(self.root.glob(f"{kind}/*/{MANIFEST}"), most):
            if (
                path.parents[1].name not in SHOWN
                and not path.parent.name.startswith(".")
                and ".damaged-" not in path.parent.name
            ):
                found += not signed(path, self.keyring)
        return found

    @property
    def remark(self) -> str:
        """What a user should know about entries that no key of his signed; "" where there are none."""
        found = self.foreign()
        if not found:
            return ""
        some = f"{found} entries" if found > 1 else "One entry"
        said = f"{some} of the store {self.root} {'were' if found > 1 else 'was'} not signed with your key: another user, another machine or"
        if trusted():
            return f"{said} an earlier version made them. They are used because WORKBENCH_TRUST_STORE is set."
        return (
            f"{said} an earlier version made them. Only results are shown; all else is made again. If you trust the person who made them, add "
            "--trust-store."
        )

    @contextmanager
    def create(self, kind: str, key: str) -> Iterator[Draft]:
        """Write an artefact: fill ``draft.folder``, set ``draft.facts``; it appears whole when the block ends well."""
        final = self.path(kind, key)
        draft = Draft(final.with_name(f".{key}.{uuid.uuid4().hex[:8]}"))
        with writing(final):
            draft.folder.mkdir(parents=True)
        try:
            yield draft
            with writing(final):
                self._publish(draft, kind, key)
        finally:
            shutil.rmtree(draft.folder, ignore_errors=True)

    @contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Keep other processes from making the same artefact at the same time; they wait and then find it."""
        from filelock import FileLock

        path = self.root / "locks" / f"{kind}-{key}.lock"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make(self, kind: str, key: str, fill: Callable[[Draft], None], check: Check = None) -> Made:
        """The artefact, made by ``fill`` unless :meth:`entry` has it; one process makes it while others wait."""
        found = self.entry(kind, key, check)
        if found is None:
            with self.lock(kind, key):
                found = self.entry(kind, key, check)
                if found is None:
                    with self.create(kind, key) as draft:
                        fill(draft)
                    return Made(self.path(kind, key), draft.facts, reused=False)
        return Made(found.folder, found.facts, reused=True)

    def put(self, kind: str, key: str, facts: Any) -> None:
        """Store an artefact that is nothing but its facts."""
        with self.create(kind, key) as draft:
            draft.facts = facts

    def log_path(self, name: str) -> Path:
        folder = self.root / "logs"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in name)
        return folder / f"{safe}-{uuid.uuid4().hex[:8]}.log"

    def new_run(self) -> Path:
        """A fresh file for the events of one run."""
        folder = self.root / "runs"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}.jsonl"

    def _publish(self, draft: Draft, kind: str, key: str) -> None:
        final = self.path(kind, key)
        manifest = written(draft.folder, kind, key, draft.facts, self.keyring)
        with (draft.folder / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        try:
            draft.folder.rename(final)
        except OSError as cause:
            if not final.exists():
                raise
            # another process published the same content first, or the caller measures again: take the newer one
            old = final.with_name(f".{final.name}.old-{uuid.uuid4().hex[:8]}")
            final.rename(old)
            draft.folder.rename(final)
            shutil.rmtree(old, ignore_errors=True)
            if not final.exists():
                raise StoreError(f"Could not write {final}.") from cause

    def _sweep(self) -> None:
        """Remove what a crash left half-written long ago."""
        horizon = time.time() - ABANDONED_S
        for folder in self.root.glob("*/.*"):
            if folder.is_dir() and folder.stat().st_mtime < horizon:
                shutil.rmtree(folder, ignore_errors=True)


class Made(NamedTuple):
    """An artefact's folder, its facts, and whether it had been there before."""

    folder: Path
    facts: Any
    reused: bool


class Draft:
    """An artefact being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: Any = None
