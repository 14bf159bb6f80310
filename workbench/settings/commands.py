"""An experiment as a shell command and as a Python call, which run in any folder."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.settings.table import SETTINGS
from workbench.system.resources import notebook

if TYPE_CHECKING:
    from workbench.settings.experiment import Experiment

BUILT_IN = ("demo", "auto", "digits", "random")
"""Values of the settings 'model' and 'data' that are not paths."""


def placed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the paths of model and data made absolute: equal ones mean the same files, wherever they were typed."""
    paths = {
        name: str(Path(parameters[name]).expanduser().absolute())
        for name in ("model", "data")
        if name in parameters and parameters[name] not in BUILT_IN
    }
    return parameters | paths


def papermill_command(
    experiment: Experiment, store: str | Path = "", output: str = "out.ipynb", *, minutes: str = ""
) -> str:
    """The shell command that runs the experiment without a panel, with this store and time limit, and writes the executed notebook to
    ``output``.

    All paths but ``output`` are absolute. Where a shell would not find the papermill of this Python, its path is written.
    """
    words = [_program("papermill"), str(notebook("workbench.ipynb")), output]
    changed = placed(experiment.changes()) | ({"store": str(Path(store).absolute())} if store else {})
    changed |= {"minutes": minutes} if minutes else {}
    for name, value in changed.items():
        # papermill's -p reads numbers as numbers; -r keeps text as text ("8" stays a list of one batch)
        words += ["-r" if isinstance(value, str) else "-p", name, str(value)]
    return shlex.join(words)


def report_command(experiment: Experiment, store: str | Path = "", *, minutes: str = "") -> str:
    """The shell command that runs the experiment with this store and time limit, prints the table and writes the report."""
    words = [_program("workbench"), "report"]
    for name, value in placed(experiment.changes()).items():
        words += [SETTINGS[name].option, str(value)]
    words += ["--store", str(Path(store).absolute())] if store else []
    return shlex.join([*words, "--minutes", minutes] if minutes else words)


def python_call(experiment: Experiment, store: str | Path = "", metric: str = "", minutes: str = "") -> str:
    """The Python lines that run the experiment with this store and time limit; ``metric`` is the name of a function that scores."""
    changed = placed({name: getattr(experiment, name) for name in experiment.changes()})
    arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    more = f", store={os.fspath(Path(store).absolute())!r}" if store else ""
    more += f", minutes={minutes}" if minutes else ""
    more += f", metric={metric}" if metric else ""
    return f"import workbench\n\nresults = workbench.run(workbench.Experiment({arguments}){more})"


def deployment_commands(folder: Path, store: str | Path) -> dict[str, str]:
    """Shell commands for a deployment by what they do; what is measured under load is kept in this store. All paths are absolute."""
    place, program = str(folder.absolute()), _program("workbench")
    known = {
        "To check it": [sys.executable, str(folder.absolute() / "selftest.py")],
        "To serve it": [program, "serve", place],
        "To measure it under load": [program, "loadtest", place, "--store", str(Path(store).absolute())],
        "To monitor it": [program, "monitor", place],
    }
    return {title: shlex.join(words) for title, words in known.items()}


def _program(name: str) -> str:
    here = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found and Path(found).resolve() == here.resolve() else str(here)
