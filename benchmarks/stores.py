"""Shared by the benchmarks: a fresh store that holds the trained demo and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from record import ROOT

from workbench import open_model
from workbench.store import Store


def store_with_demo(folder: Path) -> Store:
    """A store in ``folder`` with a copy of the demo from the repository's own store, where it is trained if need be."""
    own = Store(ROOT / ".workbench")
    open_model("demo", store=own)
    shutil.copytree(own.root / "demo", folder / "demo")
    return Store(folder)
