"""The source of a deployment: the variant of the same run in FP32, which answers a share of the requests too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import backends
from workbench.accuracy.guard import disagreement
from workbench.backends.base import Deployable, Deployed
from workbench.compare.kept_runs import read
from workbench.deploy.chosen import Chosen
from workbench.deploy.reference import LOWER
from workbench.records import EngineRecord, Precision, Result
from workbench.store import Store
from workbench.system.machine import version_of

FOLDER = "source"
"""Beside the deployed model's files."""


@dataclass(frozen=True)
class ReferenceModel:
    """A measured row in FP32, and the parts that are deployed of it."""

    row: Result
    parts: Deployed
    fixed_batch: int | None

    @property
    def package(self) -> str:
        """What pip installs for it."""
        assert self.row.engine is not None
        return requirement(self.row.engine)

    def options(self) -> dict[str, Any]:
        """What ``watching.py`` reads of it."""
        return {"options": dict(self.parts.options), "fixed_batch": self.fixed_batch, "tolerance": LOWER}

    def write(self, inner: Path) -> None:
        """Copy its files and its runner below ``inner``, the folder of the deployed model."""
        folder = inner / FOLDER
        folder.mkdir()
        copy_files(self.parts.files, folder)
        backend = backends.get(self.row.spec.backend)
        assert isinstance(backend, Deployable)
        (folder / "runner.py").write_text(backend.runner.read_text(encoding="utf-8"), encoding="utf-8")


def requirement(engine: EngineRecord) -> str:
    """What pip installs to run an engine: the distribution of that version, where several of the library's are installed."""
    names, version = backends.get(engine.spec.backend).distributions, engine.library_version.partition(" ")[0]
    known = {name: found for name in names if (found := version_of(name))}
    name = next((each for each, found in known.items() if found == version), next(iter(known), names[0]))
    return f"{name}=={version}"


def copy_files(files: Mapping[str, Path], into: Path) -> None:
    """Copy files and folders into a folder, by their names there."""
    for name, origin in files.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        copy: Callable[..., Any] = shutil.copytree if origin.is_dir() else shutil.copyfile
        copy(origin, into / name)


def source_of(chosen: Chosen, store: Store, scratch: Path) -> ReferenceModel | None:
    """The run's variant in FP32, by preference of the same library; ``None`` where the deployed variant is in FP32 itself, and where the
    run has none that can be deployed. Files that are made for it are written into the new folder ``scratch``.
    """
    if chosen.row.spec.precision == Precision.FP32:
        return None
    rows = [cell.result for cell in read(chosen.run, store).cells]
    rows.sort(
        key=lambda row: (row.spec.backend != chosen.row.spec.backend, row.spec.address != chosen.row.spec.address)
    )
    return next((made for row in rows if (made := _source(row, chosen, store, scratch)) is not None), None)


def _source(row: Result, chosen: Chosen, store: Store, scratch: Path) -> ReferenceModel | None:
    engine, spec = row.engine, row.spec
    if engine is None or spec.precision != Precision.FP32 or spec.environment or disagreement(row):
        return None
    backend, folder = backends.get(spec.backend), store.find("engine", engine.key)
    if not isinstance(backend, Deployable) or not backend.deploys(spec) or folder is None:
        return None
    origin = store.root / engine.origin
    if not origin.exists():
        return None
    scratch.mkdir()
    parts = backend.deployed(folder, engine, origin, scratch)
    return ReferenceModel(row, parts, row.spec.batch or chosen.model.fixed_batch)
