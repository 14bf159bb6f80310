"""Results inside the notebook that shows them, as an output of a type of its own, and back."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, WorkbenchError
from workbench.report.document import document
from workbench.runs.read_file import read_run_file
from workbench.runs.travel import export_run

if TYPE_CHECKING:
    from workbench.records import Results

MIME = "application/vnd.workbench.results+json"
SCHEMA = "workbench/results/1"
MOST_BYTES = 16 * 2**20
"""Largest file of a run that is put into a notebook."""


def bundle(results: Results, store: Path) -> dict[str, Any]:
    """What a notebook keeps of results: those of ``workbench run --json`` as ``results``, and as ``run_file`` the file of the run in base64.

    ``run_file`` is null where the file is larger than :data:`MOST_BYTES`, or the run is not in the store any more.
    """
    return {MIME: {"schema": SCHEMA, "results": document(results), "run_file": _packed(results.run, store)}}


def _packed(run: str, store: Path) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.wbrun"
        try:
            size = export_run(run, file, store).size_bytes
        except WorkbenchError:
            return None
        return base64.b64encode(file.read_bytes()).decode() if size <= MOST_BYTES else None


def read(notebook: str | Path) -> Results:
    """The results inside a notebook that the workbench executed; of several the last.

    They are those of the run with every duration, so that tables, figures and verdicts can be made from them. No store is needed.

    Args:
        notebook: path of an ``.ipynb`` file, such as the one that ``workbench report`` writes beside its page.

    Example::

        results = workbench.read("reports/workbench.ipynb")
        print(results.table())

    Raises:
        InputError: there is no such notebook, it holds no results, or they are damaged.
    """
    path = Path(notebook).expanduser()
    found = _last(path)
    packed = found.get("run_file")
    if not isinstance(packed, str):
        raise InputError(
            f"'{path}' holds the numbers of its run and not its durations, which were too large. On the machine that measured, write them with: "
            "workbench history --export RUN FILE"
        )
    try:
        content = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise InputError(
            f"The results in '{path}' are damaged: they are not base64. Execute the notebook again."
        ) from cause
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.wbrun"
        file.write_bytes(content)
        return read_run_file(file)


def _last(path: Path) -> dict[str, Any]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        found = [output["data"][MIME] for output in outputs if MIME in output.get("data", ())]
    except FileNotFoundError:
        raise InputError(f"There is no notebook '{path}'. Give the path of an .ipynb file.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
        raise InputError(f"'{path}' is not a notebook, or is damaged. Give the path of an .ipynb file.") from cause
    if not found or not isinstance(found[-1], dict):
        raise InputError(
            f"'{path}' holds no results. 'workbench report' and the panel's notebook write them beside the summary; execute it again."
        )
    last: dict[str, Any] = found[-1]
    return last
