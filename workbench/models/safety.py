"""Checks of model files before any library reads them. Files are not loaded or unpacked here.

:mod:`workbench.models.safety_tensorflow` has the checks of TensorFlow graphs.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.errors import InputError, brief

MAX_RATIO = 200
"""Largest ratio of unpacked to packed size: a ``.keras`` file is stored nearly uncompressed, and a larger ratio is an attack."""
MAX_TOTAL_BYTES = 2**36

MAX_GRAPH_BYTES = 2**31
"""Largest size of a ``saved_model.pb`` in bytes, which is the limit of its format."""

_ALLOWED_MODULES = ("keras", "builtins")
_CODE_MODULES = ("keras.utils", "keras.src.utils", "keras.saving", "keras.src.saving", "keras.src.legacy.saving")
_OTHER_FILES = {"TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
_VOCABULARIES = {"StringLookup", "IntegerLookup", "TextVectorization"}


def check_archive(path: Path) -> None:
    """Refuse a zip file with paths outside its folder, links, or an implausible unpacked size, and a damaged file."""
    what = f"'{path}'"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(member, what)
            total = sum(member.file_size for member in members)
            packed = max(1, sum(member.compress_size for member in members))
            if total > MAX_TOTAL_BYTES or (total > 2**20 and total / packed > MAX_RATIO):
                raise InputError(
                    f"{what} holds {packed / 2**20:.1f} MiB that would unpack to {total / 2**30:.1f} GiB, which no model file "
                    "does. Save the model again."
                )
            if len({member.filename for member in members}) < len(members):
                raise InputError(f"{what} holds two parts of one name, which no model file does. Save the model again.")
            broken = archive.testzip()
    except InputError:
        raise
    except Exception as cause:  # zipfile and zlib have their own error classes
        raise InputError(
            f"{what} is not a complete archive ({brief(cause, 120)}). It may be truncated; save or copy it again."
        ) from cause
    if broken:
        raise InputError(f"{what} is damaged: its part '{broken}' does not match its checksum. Copy it again.")


def _check_member(member: zipfile.ZipInfo, what: str) -> None:
    name = member.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise InputError(
            f"{what} holds the part '{member.filename}', which would be written outside its folder. Do not use it."
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{what} holds the link '{member.filename}', which no model file needs. Do not use it.")
    if member.flag_bits & 0x1:
        raise InputError(f"{what} is encrypted. Unpack it with its password and save the model again.")


def check_keras_config(config: Any, what: str) -> None:
    """Refuse a Keras configuration whose loading would run code or read other files."""
    for entry in objects(config):
        kind = str(entry.get("class_name", "")).rpartition(">")[2]  # older files have package>class
        module = str(entry.get("module") or "")
        inner = entry.get("config")
        settings = inner if isinstance(inner, dict) else {}
        name = settings.get("name") or entry.get("name") or kind
        if kind in ("Lambda", "__lambda__"):
            raise InputError(
                f"The layer '{name}' is a Lambda, whose Python code would have to run to load {what}. If you trust the "
                "model, go to the program that made it, run model.export('folder') and open that folder."
            )
        if module and (module.partition(".")[0] not in _ALLOWED_MODULES or module.startswith(_CODE_MODULES)):
            raise InputError(
                f"{what} uses '{module}.{kind}', which is not a layer of Keras and would run other code. In the "
                "program that defines it, run model.export('folder') and open that folder."
            )
        if kind in _OTHER_FILES:
            raise InputError(
                f"The layer '{name}' of {what} is a {kind}, which loads another file or library. Open that instead."
            )
        if kind in _VOCABULARIES and isinstance(settings.get("vocabulary"), str):
            raise InputError(
                f"The layer '{name}' of {what} reads its vocabulary from the file '{settings['vocabulary']}'. Give the layer "
                "its words as a list and save the model again."
            )


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """The parts of a Keras configuration that name a class, at any depth."""
    waiting = [config]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, dict):
            if "class_name" in entry:
                yield entry
            waiting.extend(entry.values())
        elif isinstance(entry, list):
            waiting.extend(entry)


def check_hdf5(path: Path, what: str) -> None:
    """Refuse an HDF5 file that refers to other files or declares an implausible size.

    Raises:
        InputError: external links or storage, an implausible size, or a damaged file.
    """
    import h5py

    size = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            total = sum(_dataset_bytes(item, what) for item in _datasets(file["/"], what))
    except InputError:
        raise
    except Exception as cause:
        raise InputError(f"{what} is damaged ({brief(cause, 120)}). Save or copy it again.") from cause
    if total > MAX_TOTAL_BYTES or (total > 2**20 and total > MAX_RATIO * size):
        raise InputError(
            f"{what} has {size / 2**20:.1f} MiB and declares {total / 2**30:.1f} GiB of weights, which no model file does. "
            "Save the model again."
        )


def _datasets(root: Any, what: str) -> Iterator[Any]:
    """Every dataset below ``root``, with each group visited once; links to other files are refused."""
    import h5py

    waiting, seen = [root], set()
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    f"{what} points to another file ('{link.filename}'). Save the whole model in one file."
                )
            item = group.get(name)
            if item is None and isinstance(link, h5py.SoftLink):
                raise InputError(f"{what} holds a link to '{link.path}', which is not in it. Save the model again.")
            if isinstance(item, h5py.Dataset):
                yield item
            elif isinstance(item, h5py.Group) and item.id not in seen:
                seen.add(item.id)
                waiting.append(item)


def _dataset_bytes(item: Any, what: str) -> int:
    if item.external or item.is_virtual:
        raise InputError(f"The weights '{item.name}' of {what} lie in another file. Save the model in one file.")
    return int(item.size or 0) * int(item.dtype.itemsize)


def check_folder(path: Path) -> None:
    """Refuse a SavedModel folder with links that leave it, a second graph, or a graph above the size limit of its format."""
    root = path.resolve()
    size = (path / "saved_model.pb").stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise InputError(
            f"'{path}/saved_model.pb' has {size / 2**30:.1f} GiB, and the limit for a SavedModel's graph is 2 GiB. Export the model "
            "again."
        )
    for name in ("saved_model.pbtxt", "saved_model.cpb"):  # which of the two a loader reads is not defined
        if (path / name).exists():
            raise InputError(
                f"'{path}' holds two graphs, saved_model.pb and {name}. Keep one, or export the model again."
            )
    for entry in path.rglob("*"):
        if entry.is_symlink() and not entry.resolve().is_relative_to(root):
            raise InputError(
                f"'{entry.relative_to(path)}' in '{path}' is a link that leaves the folder. Copy the model with its files."
            )
