"""What a command answers: text for people or one JSON document for programs, and an exit status."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files
from typing import Any

from workbench.report.document import finite

VERSION = 1
"""Of every document. Fields are added under the same number; it is raised where one is removed or changes its meaning."""


class Exit(IntEnum):
    """Exit statuses; a signal that ends a command gives 128 and its number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_ACCURACY = 3
    CANNOT_TELL = 3
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    Exit.OK: "the command succeeded",
    Exit.FAILED: "it failed, measured or found nothing, or could not write its output; gate: worse",
    Exit.USAGE: "an option, a file or the store cannot be used",
    Exit.NO_ACCURACY: "there are results and no accuracy, although the data have labels; gate: cannot tell",
    Exit.HANGUP: "ended by SIGHUP",
    Exit.INTERRUPTED: "interrupted (Ctrl-C) or cancelled",
    Exit.TERMINATED: "ended by SIGTERM",
}
"""``docs/cli.md`` has the same table."""


@dataclass(frozen=True)
class Answer:
    """``text`` is printed without ``--json``, ``document`` with it, ``error`` in both cases on standard error.

    ``schema`` names the schema of the document where it is not the command's own.
    """

    text: str
    document: dict[str, Any]
    status: Exit = Exit.OK
    error: str = ""
    schema: str = ""


def failed(command: str, kind: str, message: str, status: Exit) -> Answer:
    """The answer of a command that ended in an error: its document is that of the schema ``error``."""
    document = {"command": command, "kind": kind, "message": message, "status": int(status)}
    return Answer("", document, status, error=message)


def as_json(command: str, document: dict[str, Any]) -> str:
    """The document as text, with the name and version of its schema first."""
    return json.dumps({"schema": f"workbench/{command}/{VERSION}", **finite(document)}, ensure_ascii=False, indent=2)


def schema(command: str) -> dict[str, Any]:
    """The JSON schema of a command's document."""
    text = files("workbench.cli").joinpath("schemas", f"{command}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
