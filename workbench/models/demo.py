"""The demo model: trained on real digits by the cells of the first lesson."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError, during, writing
from workbench.system.resources import notebook

LESSON = "lessons/01_train.ipynb"
TRAIN_TAG = "train"
_PARAMETERS_TAG = "parameters"


def recipe() -> str:
    """The Python code that trains the demo: the lesson's cells tagged ``train``, joined."""
    return "\n\n".join(source for source, _ in _cells())


def recipe_digest() -> str:
    """SHA-256 of :func:`recipe`, by which demo models of different recipes are distinguished."""
    return hashlib.sha256(recipe().encode()).hexdigest()


def _cells() -> list[tuple[str, list[str]]]:
    page = json.loads(notebook(LESSON).read_text(encoding="utf-8"))
    return [
        ("".join(cell["source"]), cell["metadata"]["tags"])
        for cell in page["cells"]
        if cell["cell_type"] == "code" and TRAIN_TAG in cell["metadata"].get("tags", [])
    ]


def train(into: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run the lesson's recipe, which writes ``demo.keras``, ``saved_model/`` and ``metrics.json`` into the folder ``into``.

    Takes about a minute; loads TensorFlow. Returns the metrics: ``test_accuracy`` (share of the test images), ``epochs``,
    ``parameters``, ``train_s`` and others.
    """
    names: dict[str, Any] = {"__name__": "__demo__"}
    for number, (source, tags) in enumerate(_cells(), start=1):
        # Each of these cells begins with a comment that describes it.
        title = source.splitlines()[0]
        if title.startswith("# "):
            progress(title.removeprefix("# ").lower())
        code = compile(source, f"{LESSON}, training cell {number}", "exec", dont_inherit=True)
        with writing(into), during("train", "the demo model", WorkbenchError):
            exec(code, names)  # noqa: S102 - the lesson's own code, which ships with this package
        if _PARAMETERS_TAG in tags:
            names["folder"] = str(into)
    metrics: dict[str, Any] = json.loads((into / "metrics.json").read_text(encoding="utf-8"))
    return metrics
