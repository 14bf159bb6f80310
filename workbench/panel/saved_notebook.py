"""A notebook that reproduces an experiment: the workbench's own, with the parameters written into it."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.errors import InputError, writing
from workbench.settings.commands import placed
from workbench.settings.experiment import Experiment
from workbench.settings.notebook import parameters_cell
from workbench.store import Store
from workbench.system.resources import notebook


def save_notebook(experiment: Experiment, path: Path, store: Store, minutes: str = "") -> Path:
    """Write the notebook to ``path``. Run with a person it shows the same panel, without one it makes the same report.

    ``minutes`` is the time limit. Paths of model, data and store are made absolute, because a kernel works in the folder of its notebook.

    Raises:
        InputError: the name does not end in .ipynb, or there is such a file.
        StoreError: it cannot be written.
    """
    path = path.expanduser().absolute()
    if path.suffix != ".ipynb":
        raise InputError(f"'{path.name}' is not the name of a notebook. Choose one that ends in .ipynb.")
    if path.exists():
        raise InputError(f"The file {path} exists already. Choose another name.")
    parameters = placed(experiment.parameters()) | {"store": str(store.root), "minutes": minutes}
    content = json.loads(notebook("workbench.ipynb").read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    cell["source"] = parameters_cell(parameters).splitlines(keepends=True)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
    return path
