"""Files that commands write where the user says: a new file, or one that the workbench wrote before, and never an input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.errors import InputError
from workbench.settings.commands import BUILT_IN

START_BYTES = 4096


def check_output(
    path: Path,
    *,
    option: str,
    endings: tuple[str, ...],
    written_here: Callable[[bytes], bool],
    inputs: Iterable[str | Path] = (),
) -> None:
    """Refuse a path that should not be written to.

    Args:
        path: where the file would be written.
        option: the option that named it, for the message.
        endings: the endings that a name may have, in lower case, such as ``(".html", ".htm")``.
        written_here: says of the first bytes of a file whether the workbench wrote it.
        inputs: the model, the data and other files that are read. What is a folder is not written into either.

    Raises:
        InputError: the name has another ending, it is a folder or a device, it is one of the inputs or lies in one, or another program wrote it.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder. Give the name of a file that ends in {endings[0]} (option {option}).")
    if path.exists() and not path.is_file():
        raise InputError(f"'{path}' is a pipe, a socket or a device. Give the name of a file (option {option}).")
    if path.suffix.lower() not in endings:
        raise InputError(f"'{path}' does not end in {' or '.join(endings)}. Choose such a name (option {option}).")
    for each in inputs:
        place = Path(each).expanduser()
        if str(each) not in ("", *BUILT_IN) and place.exists() and _is_at(path, place):
            raise InputError(
                f"'{path}' is an input of this run, or lies in one ('{each}'). Choose another name (option {option})."
            )
    if path.exists() and path.stat().st_size and not written_here(_start(path)):
        raise InputError(
            f"'{path}' exists, and the workbench did not write it. Choose another name (option {option}), or move that file away."
        )


def _is_at(path: Path, place: Path) -> bool:
    if path.exists() and path.samefile(place):
        return True
    return place.is_dir() and path.resolve().is_relative_to(place.resolve())


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(START_BYTES)
    except OSError:
        return b""


def replace_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 as a whole: a reader gets the earlier content or the new one. Its folder is made where it is missing.

    Raises:
        OSError: it cannot be written; an earlier file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
