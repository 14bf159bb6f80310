"""A deployment whose model can be made slow, or end in an error, while it is served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workbench.deploy.folder import RECORD, read, version_folder
from workbench.serving import server
from workbench.store import file_digest

CALL = "        found = self._run("
FAULT = """\
        seconds = float(Path({path!r}).read_text() or 0)
        if seconds < 0:
            raise RuntimeError("a fault was asked for")
        time.sleep(seconds)
"""


def fault_of(folder: Path) -> Path:
    """The file of a deployment that was made by :func:`faulty`."""
    return folder.parent / f"{folder.name}.fault"


@contextmanager
def served_as_it_is() -> Iterator[None]:
    """Let the server run Python code that is not this package's, which it refuses otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "check_code", lambda *_: None)
        yield


def faulty(folder: Path, to: Path) -> Path:
    """Copy a deployment to the new folder ``to``, and return the file of the fault: seconds by which each call takes longer, or a
    negative number for an error. An empty file is no fault. It is served within :func:`served_as_it_is`.
    """
    shutil.copytree(folder, to)
    fault = fault_of(to)
    fault.write_text("")
    model = version_folder(to, read(folder).name) / "model.py"
    before = model.read_text()
    assert before.count(CALL) == 1
    model.write_text(before.replace(CALL, FAULT.format(path=str(fault)) + CALL))
    record = json.loads((to / RECORD).read_text())
    record["files"][model.relative_to(to).as_posix()] = file_digest(model)
    (to / RECORD).write_text(json.dumps(record))
    return fault
