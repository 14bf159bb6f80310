"""Content-addressed artefacts on disk: written whole or not at all, locked, and verified before use.

Layout below the root (``./.workbench``, or what the variable WORKBENCH_STORE names)::

    <kind>/<key>/            one artefact: its files, and manifest.json with a SHA-256 of each
    logs/                    what worker processes printed
    runs/<time>-<id>.jsonl   one line per event of each run, appended as it happens
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import InputError, StoreError, writing
from workbench.records import FORMAT

MANIFEST = "manifest.json"
ABANDONED_S = 24 * 3600  # unfinished folders older than this were left by a crash


def key_of(**parts: Any) -> str:
    """SHA-256 over the parts as sorted JSON: equal parts, equal key, in every process and version of Python."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
            self._sweep()
        return self

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def place_of(self, path: Path) -> str:
        """The path as a record keeps it: within the store where it lies there, so that the store may be moved."""
        root, whole = self.root.absolute(), path.absolute()
        return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)

    def find(self, kind: str, key: str) -> Path | None:
        """The artefact's folder if it is there and every file is as it was written; a damaged one is set aside."""
        folder = self.path(kind, key)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            sound = all(file_digest(folder / name) == digest for name, digest in manifest["files"].items())
        except FileNotFoundError:
            if not folder.exists():
                return None
            sound = False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if sound:
            return folder
        with writing(folder):
            folder.rename(folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}"))
        return None

    def facts(self, kind: str, key: str) -> Any:
        """The JSON that was stored with an artefact, or ``None`` where there is no sound artefact."""
        folder = self.find(kind, key)
        if folder is None:
            return None
        return self.manifest(folder)["facts"]

    def manifest(self, folder: Path) -> dict[str, Any]:
        """What was written beside an artefact that :meth:`find` has found: ``files`` and ``facts``."""
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return found

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
                self._publish(draft, final)
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

    def make(self, kind: str, key: str, fill: Callable[[Draft], None]) -> Made:
        """The artefact, made by ``fill`` unless it is already there; one process makes it while others wait."""
        folder = self.find(kind, key)
        if folder is None:
            with self.lock(kind, key):
                folder = self.find(kind, key)
                if folder is None:
                    with self.create(kind, key) as draft:
                        fill(draft)
                    return Made(self.path(kind, key), draft.facts, reused=False)
        return Made(folder, self.manifest(folder)["facts"], reused=True)

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

    def _publish(self, draft: Draft, final: Path) -> None:
        files = {
            str(path.relative_to(draft.folder)): file_digest(path)
            for path in sorted(draft.folder.rglob("*"))
            if path.is_file()
        }
        manifest = json.dumps({"files": files, "facts": draft.facts}, indent=1, allow_nan=False)
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
