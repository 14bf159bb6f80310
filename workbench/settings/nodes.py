"""Names of nodes that a user gives as a list, or as a file that a search has written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from workbench.errors import InputError, brief

ENDINGS = (".json", ".txt")


def expanded(entries: Iterable[str]) -> tuple[str, ...]:
    """The entries, with files (``keep.json``, ``names.txt``) replaced by the names in them.

    Raises:
        InputError: the file does not exist, or is not a list of nodes.
    """
    names: list[str] = []
    for entry in entries:
        names += names_in(Path(entry).expanduser()) if entry.lower().endswith(ENDINGS) else [entry]
    return tuple(dict.fromkeys(names))


def names_in(path: Path) -> tuple[str, ...]:
    """The node names in a file of :func:`workbench.search.mixed_precision.answers.save_keep`, or in a text file with one name in each line.

    Raises:
        InputError: the file does not exist, or has neither form.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        why = "the file does not exist" if isinstance(cause, FileNotFoundError) else brief(cause)
        raise InputError(
            f"The list of nodes '{path}' could not be read: {why}. Give a JSON file of a repair, or a text file with one name per line."
        ) from cause
    if not text.lstrip().startswith("{"):
        return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    try:
        return tuple(str(name) for name in json.loads(text)["keep"])
    except (ValueError, KeyError, TypeError) as cause:
        raise InputError(
            f"'{path}' is not a list of nodes: its JSON has no 'keep'. Save it again from a repair."
        ) from cause
