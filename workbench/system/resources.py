"""Files that travel with the package."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import InputError


def notebook(name: str) -> Path:
    """The notebook ``name`` (such as ``lessons/01_train.ipynb``), in an installed wheel or in a source checkout.

    Raises:
        InputError: there is no such notebook; the message lists those there are.
    """
    package = Path(__file__).resolve().parent.parent
    folders = [package / "notebooks", package.parent / "notebooks"]  # the wheel carries them inside the package
    for folder in folders:
        if name.endswith(".ipynb") and (folder / name).is_file():
            return folder / name
    names = {p.relative_to(folder).as_posix() for folder in folders for p in folder.rglob("*.ipynb")}
    shipped = ", ".join(sorted(n for n in names if ".ipynb_checkpoints" not in n)) or "none"
    raise InputError(f"There is no notebook '{name}'. Choose from: {shipped}.")
