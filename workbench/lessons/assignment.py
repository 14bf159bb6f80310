"""Lessons as assignments for nbgrader: predictions are to be filled in, and the checks that do not depend on the machine give points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.lessons.board import PredictionOutcome
from workbench.lessons.helpers import LAST

if TYPE_CHECKING:
    from nbformat import NotebookNode

GRADED = {"02_precision": (1, 2, 3), "03_int8": (1, 3)}
"""By lesson the questions that give points: their answers follow from a number format or a file, and are the same on every machine."""
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
POINT = "from workbench.lessons.assignment import points\n\npoints()  # of the check above"
UNKNOWN = "No check of a prediction was run before. Run the cells above."


def points(most: float = 1.0) -> float:
    """The points of the check that ran last in this kernel: ``most`` if the prediction held, else 0.

    Raises:
        InputError: there was no check.
    """
    if not LAST:
        raise InputError(UNKNOWN)
    return most if LAST[-1] == PredictionOutcome.HELD else 0.0


def assignment(lesson: Path, parameters: Mapping[str, Any] | None = None) -> NotebookNode:
    """A lesson as the source of an assignment of nbgrader, with these values in place of those of its parameters cell.

    Cells with predictions are to be filled in, and the graded questions of :data:`GRADED` give a point each. All other code is locked:
    nbgrader restores it before it grades.

    Raises:
        InputError: the lesson has no graded questions, or no parameter of such a name.
    """
    import nbformat

    name = lesson.stem.removesuffix(".zh")
    if name not in GRADED:
        raise InputError(f"'{lesson.name}' has no graded questions. Choose from: {', '.join(GRADED)}.")
    notebook: NotebookNode = nbformat.read(lesson, as_version=4)  # type: ignore[no-untyped-call]
    cells, question = [], 0
    for cell in notebook.cells:
        cells.append(cell)
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code":
            continue
        if "parameters" in tags:
            cell.source = _with(cell.source, parameters or {})
        if "prediction" in tags:
            question += 1
            hint = cell.source.partition("#")[2].strip()
            cell.source = f"{BEGIN}\nprediction = None  # the teacher's own answer: {hint}\n{END}"
            _mark(cell, f"prediction-{question}", solution=True)
            continue
        _mark(cell, cell.id, locked=True)
        if "print(check(" in cell.source and question in GRADED[name]:
            point = nbformat.v4.new_code_cell(POINT, id=f"points-{question}")  # type: ignore[no-untyped-call]
            _mark(point, f"points-{question}", grade=True, locked=True, points=1)
            cells.append(point)
    notebook.cells = cells
    nbformat.validate(notebook)
    return notebook


def _with(source: str, parameters: Mapping[str, Any]) -> str:
    """A parameters cell with other values, and without the predictions, which have cells of their own."""
    lines = [line for line in source.splitlines() if not line.startswith("question_")]
    for name, value in parameters.items():
        places = [place for place, line in enumerate(lines) if line.startswith(f"{name}:")]
        if not places:
            raise InputError(f"The lesson has no parameter '{name}'. Its parameters: {', '.join(_names(lines))}.")
        lines[places[0]] = f"{lines[places[0]].partition(' = ')[0]} = {value!r}"
    return "\n".join(lines)


def _names(lines: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in lines if ":" in line]


def _mark(cell: NotebookNode, name: str, **more: Any) -> None:
    """The metadata of nbgrader's schema 3."""
    plain = {"grade": False, "solution": False, "locked": False, "task": False, "grade_id": name, "schema_version": 3}
    cell.metadata["nbgrader"] = plain | more
