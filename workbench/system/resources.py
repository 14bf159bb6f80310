"""Files that are installed with the package."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import InputError, writing

PANEL = "workbench.ipynb"
"""The notebook with the panel, which is also the headless report."""
_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "notebooks", _PACKAGE.parent / "notebooks")  # a wheel has them inside the package


def notebooks() -> tuple[str, ...]:
    """The names of the notebooks of this package, such as ``lessons/01_train.ipynb``."""
    found = {p.relative_to(folder).as_posix() for folder in _FOLDERS for p in folder.rglob("*.ipynb")}
    return tuple(sorted(name for name in found if ".ipynb_checkpoints" not in name))


def notebook(name: str) -> Path:
    """The path of the notebook ``name`` (such as ``lessons/01_train.ipynb``), in an installed wheel or in a source checkout.

    Raises:
        InputError: the notebook does not exist; the message lists the existing ones.
    """
    for folder in _FOLDERS:
        if name.endswith(".ipynb") and (folder / name).is_file():
            return folder / name
    raise InputError(f"There is no notebook '{name}'. Choose from: {', '.join(notebooks()) or 'none'}.")


def data_file(name: str) -> Path | None:
    """The path of a file beside the notebooks, such as ``lessons/data/x.wbrun``; ``None`` where it is not installed."""
    return next((folder / name for folder in _FOLDERS if (folder / name).is_file()), None)


def copy_notebook(name: str, into: Path) -> None:
    """Write a copy of the notebook ``name`` as the file ``into``, whose ending is ``.ipynb``.

    Raises:
        InputError: the file exists, or has another ending.
        StoreError: it cannot be written.
    """
    if into.suffix != ".ipynb":
        raise InputError(
            f"'{into}' does not end in .ipynb, by which Jupyter recognizes a notebook. Choose another name."
        )
    content = notebook(name).read_bytes()
    if os.path.lexists(into):
        raise InputError(f"'{into}' exists already. Choose another name, or remove it first.")
    with writing(into, "the name of the copy"), into.open("xb") as file:
        file.write(content)
