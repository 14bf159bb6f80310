"""The file in which a run travels to another store: a ZIP archive of JSON and one array, from which nothing is executed.

``docs/run_files.md`` describes it. Every part has its SHA-256 in ``manifest.json``; names, sizes and digests are checked before
anything is used.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.errors import InputError, brief, writing

FORMAT, VERSION, ENDING = "inference-workbench-run", 1, ".wbrun"
MANIFEST, RUN, SAMPLES, MODEL = "manifest.json", "run.json", "samples.npy", "model/"
FIRST = b"PK\x03\x04"
MOST_BYTES = {MANIFEST: 2**22, RUN: 2**27, SAMPLES: 2**29}
"""Largest unpacked size of each part; the model has none of its own."""
MOST_PARTS = 10_000
PACKED_TIMES, ANYWAY_BYTES = 100, 2**24
"""Parts that unpack to more than so many times their packed size are neither durations nor records; small ones may be."""
CHUNK = 2**20
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DATE = (1980, 1, 1, 0, 0, 0)
LEVEL = 6
"""Of compression: the highest one, 9, takes 15 times as long for durations and saves 1 %."""


def begins_so(start: bytes) -> bool:
    """Whether a file that begins with these bytes was written by :func:`write`."""
    return start.startswith(FIRST) and start[30 : 30 + len(MANIFEST)] == MANIFEST.encode()


def write(path: Path, run: Any, samples: bytes, model: Mapping[str, Path]) -> None:
    """Write a run as one file, completely or not at all.

    Args:
        path: the file.
        run: what ``run.json`` holds.
        samples: the content of ``samples.npy``.
        model: files of the model by their names in the archive below ``model/``; empty where it is left out.

    Raises:
        StoreError: it cannot be written.
    """
    text = json.dumps(run, separators=(",", ":"), allow_nan=False).encode()
    files = {RUN: _sha256(text), SAMPLES: _sha256(samples)}
    for name, source in model.items():
        with source.open("rb") as file:
            files[MODEL + name] = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = json.dumps({"format": FORMAT, "version": VERSION, "files": files}, indent=1).encode()
    draft = path.with_name(f".{path.name}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
                for name, content in ((MANIFEST, manifest), (RUN, text), (SAMPLES, samples)):
                    info = zipfile.ZipInfo(name, DATE)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, content, compresslevel=LEVEL)
                for name, source in model.items():
                    archive.write(source, MODEL + name)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The file, after a check of the names, sizes and digests of its parts.

    Raises:
        InputError: it is not such a file, is damaged, was made by a later version, or holds what such a file never holds. The text
            names the part.
    """
    if not path.is_file():
        raise InputError(f"There is no file '{path}'. Give the path of a run's file, which ends in {ENDING}.")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield Archive(archive, path)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as cause:
        if isinstance(cause, OSError) and not isinstance(cause, zipfile.BadZipFile) and cause.errno is not None:
            raise InputError(f"The run's file '{path}' cannot be read: {brief(cause)}.") from cause
        raise _damaged(path, brief(cause)) from cause


class Archive:
    """An open file of a run. Its parts have been checked by name and size, and by digest when they are read."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._infos = self._checked(archive.infolist())
        manifest = self._json(MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InputError(f"'{path}' is not the file of a run. Give one that 'workbench history --export' wrote.")
        version = manifest.get("version")
        if version != VERSION:
            raise InputError(
                f"'{path}' has version {version!r} of the format of runs, and this workbench reads version {VERSION}. Update the "
                "workbench here, or export the run again with this version."
            )
        files = manifest.get("files")
        self._digests: dict[str, Any] = files if isinstance(files, dict) else {}
        if not self._digests or set(self._digests) | {MANIFEST} != set(self._infos):
            raise _damaged(path, "it holds other parts than its manifest names")
        if not {RUN, SAMPLES} <= set(self._infos):
            raise _damaged(path, "a part is missing")

    @property
    def run(self) -> Any:
        """What ``run.json`` holds."""
        return self._json(RUN)

    @property
    def model(self) -> tuple[str, ...]:
        """Names of the model's files below ``model/``; empty where it was left out."""
        return tuple(name.removeprefix(MODEL) for name in self._infos if name.startswith(MODEL))

    def extract(self, folder: Path, *, samples_as: str) -> None:
        """Write the durations as the file ``samples_as``, and the model's files below ``model/``, into a folder."""
        self._copy(SAMPLES, folder / samples_as)
        for name in self._infos:
            if name.startswith(MODEL):
                target = folder / name
                with writing(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                self._copy(name, target)

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if len(infos) > MOST_PARTS:
            raise _damaged(self._path, f"it has {len(infos):,} parts, and at most {MOST_PARTS:,} are read")
        found: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if why := _refused(info) or ("the name stands twice" if info.filename in found else ""):
                raise _damaged(self._path, f"the part {json.dumps(info.filename)}: {why}")
            found[info.filename] = info
        if MANIFEST not in found:
            raise InputError(f"'{self._path}' is not the file of a run: it has no {MANIFEST}.")
        return found

    def _json(self, name: str) -> Any:
        content = self._read(name)
        if name != MANIFEST:
            self._compare(name, _sha256(content))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as cause:
            raise _damaged(self._path, f"{name} is not valid JSON") from cause

    def _read(self, name: str) -> bytes:
        with self._archive.open(self._infos[name]) as part:
            return part.read(MOST_BYTES[name])

    def _copy(self, name: str, target: Path) -> None:
        digest = hashlib.sha256()
        with self._archive.open(self._infos[name]) as part, writing(target), target.open("xb") as file:
            while chunk := part.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        self._compare(name, digest.hexdigest())

    def _compare(self, name: str, digest: str) -> None:
        if self._digests[name] != digest:
            raise _damaged(self._path, f"{name} differs from its digest")


def _refused(info: zipfile.ZipInfo) -> str:
    """Why a part is not taken; "" where it is."""
    name = info.filename
    parts = PurePosixPath(name).parts
    if name not in MOST_BYTES and not (name.startswith(MODEL) and len(parts) > 1):
        return "the file of a run has no such part"
    if PurePosixPath(name).as_posix() != name or ".." in parts or any(char in name for char in "\\:\0"):
        return "the name leads out of its folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link"
    if info.flag_bits & 1 or info.compress_type not in KINDS:
        return "it is encrypted, or packed in another way than the workbench packs"
    if info.file_size > MOST_BYTES.get(name, info.file_size):
        return f"it unpacks to {info.file_size:,} bytes, and at most {MOST_BYTES[name]:,} are read"
    if info.file_size > max(ANYWAY_BYTES, PACKED_TIMES * info.compress_size):
        return f"it unpacks to {info.file_size:,} bytes, more than {PACKED_TIMES} times its packed size"
    return ""


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"The run's file '{path}' is damaged or was changed: {why}. Export the run again.")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
