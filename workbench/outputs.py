"""Files that commands write where the user says: a new file, or one that the workbench wrote before, and never an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.errors import InputError

START_BYTES = 4096
BUILT_IN = ("demo", "auto", "digits", "random")
"""Models and data that are no files, whatever lies in the current folder."""


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
        InputError: the name has another ending, it is a folder, it is one of the inputs or lies in one, or another program wrote it.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder. Give the name of a file that ends in {endings[0]} (option {option}).")
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
