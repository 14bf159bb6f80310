"""The store: a folder of artefacts, each written completely or not at all, locked, signed, and verified before use.

Layout below the root (``./.workbench``, or what the variable WORKBENCH_STORE names)::

    <kind>/<key>/            one artefact: its files, and manifest.json with its facts, digests and a signature
    cache/                   caches of libraries, such as compiled kernels and fonts
    logs/                    output of worker processes
    runs/<time>-<id>.jsonl   one line per event of each run, appended as it happens
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import InputError, StoreError, brief, writing
from workbench.locks.making import alone_at
from workbench.locks.scratch import Held, remove_unheld
from workbench.records import CPU, FORMAT, from_json
from workbench.store.draft import Draft, Made
from workbench.store.keys import Keyring, keyring
from workbench.store.manifest import MANIFEST, Entry, file_digest, glance, read, signed, written
from workbench.store.sharing import is_shared, remark, restrict, trusted
from workbench.store.use import in_use

KINDS = {
    "accuracy": "scores",
    "checkpoint": "launches of measurements that have not ended",
    "cohort": "lists of variants that took turns",
    "conformance": "results of ONNX's operator cases",
    "demo": "the demo's model",
    "engine": "engines",
    "examination": "examinations of graphs",
    "given": "data that were sent to a worker of a cluster",
    "layers": "times of layers",
    "load": "measurements under load",
    "model": "descriptions of models",
    "onnx": "models converted to ONNX",
    "original": "copies of models",
    "outputs": "outputs of engines",
    "portable": "records of engines that can be carried to another machine",
    "part": "parts of runs, from workers of a cluster",
    "peaks": "the machine's peaks",
    "ranges": "ranges of values",
    "repair": "searches for mixed precision",
    "results": "results of runs",
    "samples": "samples",
    "saved_model": "models exported as SavedModels",
    "sensitivity": "sensitivity of layers",
    "served": "load tests of deployments",
    "timing": "timings",
}
"""Descriptions of the kinds of artefacts, in the plural."""
SHOWN = ("results", "served")
"""Kinds that are only shown, and from which nothing is made: they need no signature."""
MOST_LOOKED_AT = 500
HALF_WRITTEN = re.compile(r"\..+\.(old-)?[0-9a-f]{8}")
"""Names of folders that are being written, and of those that were replaced."""

LOG = logging.getLogger(__name__)
R = TypeVar("R")
Check = Callable[[Any], object] | None
__all__ = ["MANIFEST", "Draft", "Made", "Store", "file_digest", "key_of"]


def key_of(**parts: Any) -> str:
    """SHA-256 over the parts as sorted JSON. Equal parts give equal keys in every process and version of Python."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


class Store:
    """A folder of artefacts. Several processes can use it at once; no artefact is changed in place."""

    def __init__(self, root: str | Path | None = None) -> None:
        place = os.fspath(root or os.environ.get("WORKBENCH_STORE") or ".workbench")
        self.root = Path(os.path.expanduser(place)).absolute()  # noqa: PTH111 - Path.expanduser raises for unknown users
        # called with a sentence while another process makes a needed artefact, or holds the index of the history
        self.waiting: Callable[[str], None] = LOG.info
        self.cancel: threading.Event | None = None  # an event that ends such a wait when it is set
        self.used: set[str] = set()  # "kind/key" of all artefacts that were found or made by this object

    @contextmanager
    def in_use(self, what: str) -> Iterator[None]:
        """Prevent :mod:`workbench.store.contents` from removing entries inside the block; ``what`` describes the use, for messages."""
        with in_use(self.root, what, self.waiting, self.cancel):
            yield

    def for_run(self, waiting: Callable[[str], None], cancel: threading.Event | None = None) -> Store:
        """The same store for one run: waits for other processes are reported to ``waiting``, and end when ``cancel`` is set."""
        own = Store(self.root)
        own.waiting, own.cancel = waiting, cancel
        return own

    @classmethod
    def of(cls, given: Store | str | Path | None) -> Store:
        """The store for an argument: a store, the path of its folder, or ``None`` or "" for the default.

        Raises:
            InputError: ``given`` has another type.
        """
        if isinstance(given, Store):
            return given
        if given is None or isinstance(given, (str, os.PathLike)):
            return cls(given or None)
        raise InputError(
            f"'store' must be the path of a folder or a Store; found a {type(given).__name__}. Choose for example '.workbench'."
        )

    def prepare(self) -> Store:
        """Create the folder and check that it can be written to.

        Raises:
            StoreError: no permission, a full disk, or a path through a file; the message says which.
        """
        with writing(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            restrict(self.root)
            self.__dict__.pop("keyring", None)  # sharing may have added a key
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
            # partly written folders of killed processes
            remove_unheld([folder for folder in self.root.glob("*/.*") if HALF_WRITTEN.fullmatch(folder.name)])
        return self

    @property
    def shared(self) -> bool:
        """Whether the store is shared with a group."""
        return is_shared(self.root)

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    @property
    def cache_env(self) -> dict[str, str]:
        """Environment variables by which libraries keep their caches and settings in the store, not in the home folder."""
        cache = self.root / "cache"
        folders = {"CUDA_CACHE_PATH": "cuda", "KERAS_HOME": "keras", "MPLCONFIGDIR": "matplotlib", "XDG_CACHE_HOME": ""}
        return {name: str(cache / folder) for name, folder in folders.items()}

    def kept_by(self, device: str) -> tuple[Path, ...]:
        """Cache folders that a process measuring on ``device`` may write to: CUDA compiles kernels at their first use."""
        if device == CPU:
            return ()
        folder = Path(self.cache_env["CUDA_CACHE_PATH"])
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return (folder,)

    def place_of(self, path: Path) -> str:
        """The path for a record: relative to the store where it is inside, so that the store can be moved."""
        whole = path.absolute()
        return str(whole.relative_to(self.root) if whole.is_relative_to(self.root) else whole)

    @cached_property
    def keyring(self) -> Keyring:
        """The keys that are trusted for this store."""
        return keyring(self.root)

    def entry(self, kind: str, key: str, check: Check = None) -> Entry | None:
        """The artefact if it exists, all its files and facts are as they were written, and it may be used; else ``None``.

        A damaged artefact is renamed, so that it is made again. So is one for whose facts ``check`` raises any error: another version
        wrote it. An artefact that was not signed with a trusted key stays and is not used, unless it holds results of a run, which
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
            raise _unreadable(folder, cause) from cause
        except Exception:  # a check may raise any error on facts of another kind
            if os.access(folder.parent, os.W_OK):  # in a store that can only be read it stays
                with writing(folder):
                    folder.rename(folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}"))
            return None
        self._note(kind, key)
        return found

    def _note(self, kind: str, key: str) -> None:
        """Record the use of an artefact: in the results of the run, and by the folder's time for removal by age."""
        self.used.add(f"{kind}/{key}")
        with suppress(OSError):  # read-only, or the folder of another user
            os.utime(self.path(kind, key))

    def has(self, kind: str, key: str) -> bool:
        """Whether the folder of the artefact has a manifest, which is not read."""
        return bool(key) and (self.path(kind, key) / MANIFEST).is_file()

    def peek(self, kind: str, key: str) -> Entry | None:
        """An artefact that seems complete and may be used. Its files are not read, and it is not marked as damaged."""
        if not self.has(kind, key):
            return None
        found = glance(self.path(kind, key), kind, key, self.keyring)
        return found if found and (found.own or kind in SHOWN or trusted()) else None

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of the artefact; ``None`` where :meth:`entry` returns ``None``."""
        return found.folder if (found := self.entry(kind, key)) else None

    def facts(self, kind: str, key: str, check: Check = None) -> Any:
        """The JSON that was stored with an artefact; ``None`` where :meth:`entry` returns ``None``."""
        found = self.entry(kind, key, check)
        return found.facts if found else None

    def record(self, kind: str, key: str, record: type[R]) -> R | None:
        """The facts of an artefact as a record; ``None`` where there are none, or where they are not a valid record."""
        facts = self.facts(kind, key, lambda found: from_json(record, found))
        return None if facts is None else from_json(record, facts)

    def foreign(self, kind: str = "*") -> int:
        """Number of artefacts without a signature of a trusted key, among the first 500 of this kind; results are not counted."""
        manifests = itertools.islice(self.root.glob(f"{kind}/*/{MANIFEST}"), MOST_LOOKED_AT)
        return sum(not signed(path, self.keyring) for path in manifests if _is_used(path))

    @property
    def remark(self) -> str:
        """A remark on entries that are not signed with a trusted key; "" where there are none."""
        return remark(self.root, self.foreign())

    @contextmanager
    def create(self, kind: str, key: str, *, instead: Callable[[], bool] = lambda: True) -> Iterator[Draft]:
        """Write an artefact: fill ``draft.folder`` and set ``draft.facts``. It is published when the block ends without an error.

        It replaces an artefact that exists by then, unless ``instead`` returns False: then the new one is discarded.
        """
        final = self.path(kind, key)

        def new() -> Path:
            folder = final.with_name(f".{key}.{uuid.uuid4().hex[:8]}")
            folder.mkdir(parents=True)
            return folder

        with writing(final):
            held = Held(new)
        draft = Draft(held.path)
        try:
            yield draft
            with writing(final):
                made = {"step": draft.step, "s": round(time.monotonic() - draft.began, 3)}
                draft.publish(final, written(draft.folder, kind, key, draft.facts, self.keyring, made), instead)
                if draft.published:
                    self._note(kind, key)
        finally:
            held.remove()

    def make(self, kind: str, key: str, fill: Callable[[Draft], None], check: Check = None) -> Made:
        """The artefact, made by ``fill`` unless :meth:`entry` finds it. One process makes it, while others wait and report the wait.

        A process that is stopped while it makes an artefact is passed over after a minute. The key identifies the content, so that both
        results are correct: the one that is published second is discarded.

        Raises:
            Cancelled: the run was cancelled while it waited.
        """
        while True:
            found, before = self.entry(kind, key, check), self._state(kind, key)
            if found is not None:
                return Made(found.folder, found.facts, reused=True)
            with self._lock(kind, key, before) as held:
                if held and self.entry(kind, key, check) is None:
                    with self.create(kind, key, instead=lambda: self.entry(kind, key, check) is None) as draft:
                        draft.step = kind
                        fill(draft)
                    if draft.published:
                        return Made(self.path(kind, key), draft.facts, reused=False)

    @contextmanager
    def _lock(self, kind: str, key: str, before: tuple[int, int] | None) -> Iterator[bool]:
        """Prevent other processes from making the same artefact; gives False where its state differs from ``before``."""
        path = self.root / "locks" / f"{kind}-{key}.lock"
        what = f"making {KINDS.get(kind, kind)} in the store {self.root}"
        with ExitStack() as stack:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                alone = alone_at(
                    path, what, waiting=self.waiting, cancel=self.cancel, made=lambda: self._state(kind, key) != before
                )
                held = stack.enter_context(alone)
            yield held

    def _state(self, kind: str, key: str) -> tuple[int, int] | None:
        """A value that differs between an artefact of this key and one that has replaced it; ``None`` where there is none."""
        try:
            found = (self.path(kind, key) / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def put(self, kind: str, key: str, facts: Any) -> None:
        """Store an artefact that has facts and no files."""
        with self.create(kind, key) as draft:
            draft.facts = facts

    def log_path(self, name: str) -> Path:
        folder = self.root / "logs"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in name)
        return folder / f"{safe}-{uuid.uuid4().hex[:8]}.log"

    def new_run(self) -> Path:
        """The path of a new file for the events of one run. Names sort as the runs begin, also within one second: the last six characters are
        the fraction of the second, in units of 15 µs, and a random byte.
        """
        folder, now = self.root / "runs", time.time()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        began, fraction = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)), int(now % 1 * 2**16)
        return folder / f"{began}-{fraction:04x}{uuid.uuid4().hex[:2]}.jsonl"


def _unreadable(folder: Path, cause: OSError) -> StoreError:
    if isinstance(cause, PermissionError):
        return StoreError(
            f"There is no permission to read {folder}. Ask the owner of the folder, or choose another store (option --store)."
        )
    return StoreError(f"Could not read {folder}: {brief(cause)}. Free memory or open files.")


def _is_used(manifest: Path) -> bool:
    """Whether a manifest is that of a complete artefact from which others are made."""
    kind, folder = manifest.parents[1].name, manifest.parent.name
    return kind not in SHOWN and not folder.startswith(".") and ".damaged-" not in folder
