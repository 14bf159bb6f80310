"""A notebook that reproduces an experiment: the workbench's own, with the parameters written into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.errors import InputError, writing
from workbench.experiment import Experiment
from workbench.settings_table.notebook import parameters_cell
from workbench.store import Store
from workbench.system.resources import notebook

BUILT_IN = ("demo", "auto", "digits", "random")


def save_notebook(experiment: Experiment, path: Path, store: Store) -> Path:
    """Write the notebook to ``path``. Run with a person it shows the same panel, without one it makes the same report.

    Paths of model, data and store are made absolute, because a kernel works in the folder of its notebook.

    Raises:
        InputError: the name does not end in .ipynb, or there is such a file.
        StoreError: it cannot be written.
    """
    path = path.expanduser().absolute()
    if path.suffix != ".ipynb":
        raise InputError(f"'{path.name}' is not the name of a notebook. Choose one that ends in .ipynb.")
    if path.exists():
        raise InputError(f"There is a file {path} already. Choose another name.")
    parameters = placed(experiment.parameters()) | {"store": str(store.root)}
    content = json.loads(notebook("workbench.ipynb").read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    cell["source"] = parameters_cell(parameters).splitlines(keepends=True)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
    return path


def placed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the paths of model and data made absolute: equal ones mean the same files, wherever they were typed."""
    paths = {
        name: str(Path(parameters[name]).expanduser().absolute())
        for name in ("model", "data")
        if parameters[name] not in BUILT_IN
    }
    return parameters | paths
