"""Programs of this package under another interpreter: the variables that start one."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from workbench.errors import writing
from workbench.store.keys import config_folder

NEEDS = ("cattrs", "cloudpickle", "numpy", "psutil")
"""Distributions that every worker imports; the libraries that build engines come besides."""
TOOLS = ("nvidia-modelopt",)
"""Distributions that rewrite models, and are run in an environment as programs of their own."""
OLDEST_PYTHON = (3, 11)
OLDEST_NUMPY = (1, 26)
OF_ONE_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")
"""Variables that are meant for the interpreter of this process."""


def variables(own: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of such a process: those of this one, without what is meant for its interpreter, and ``own``.

    Only this package is on its path, without the current folder, and nothing else of this interpreter's packages: they may be of other versions.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_ONE_PYTHON}
    return {**kept, **own, "PYTHONPATH": str(package_folder()), "PYTHONSAFEPATH": "1"}


@cache
def package_folder() -> Path:
    """A folder that holds this package and nothing else, by a link."""
    package = Path(__file__).resolve().parents[1]
    folder = config_folder() / "package" / hashlib.sha256(str(package).encode()).hexdigest()[:16]
    with writing(folder, "variable XDG_CONFIG_HOME"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (folder / "workbench").symlink_to(package)
    return folder
