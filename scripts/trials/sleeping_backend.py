"""A backend whose engines sleep for a fixed time and compute nothing, so that several machines can be played by one.

:func:`install` puts it into a folder as an installed package; with the folder in ``PYTHONPATH`` a process has it.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from workbench.backends.base import BaseBackend, BaseSession
from workbench.precision.read_back import formats_of
from workbench.protocols import Built, Progress, Source
from workbench.records import EngineRecord, EngineSpec, to_json

FILE = "engine.onnx"
SECONDS = 0.004


class Sleeping(BaseBackend):
    name = "sleeping"
    title = "engines that sleep"
    modes = {"": "sleeps for a fixed time"}
    distributions = ("numpy",)
    imports = ("numpy",)
    settings = {"optimization_level": "makes variants that are alike", "workspace": "makes variants that are alike"}
    rank = -1

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:  # noqa: ARG002
        shutil.copyfile(source.path, into / FILE)
        (into / "outputs.json").write_text(json.dumps([to_json(each) for each in source.outputs]), encoding="utf-8")
        return Built(
            library="sleeping", library_version="1", realized=formats_of(into / FILE, "node types of the ONNX file")
        )

    def open(self, engine: Path, record: EngineRecord) -> SleepingSession:  # noqa: ARG002
        names = [each["name"] for each in json.loads((engine / "outputs.json").read_text(encoding="utf-8"))]
        return SleepingSession(names)


class SleepingSession(BaseSession):
    def __init__(self, outputs: list[str]) -> None:
        self._outputs = outputs

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        time.sleep(SECONDS)
        count = len(next(iter(feeds.values())))
        return {name: np.zeros((count, 3), np.float32) for name in self._outputs}


BACKEND = Sleeping()


def install(folder: Path, *more: Path) -> Path:
    """Put this backend, and those of other modules, into a folder, as pip would install them; the folder."""
    for module in (Path(__file__), *more):
        name = module.stem.removesuffix("_backend")
        about = folder / f"{module.stem}-1.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-backend\nVersion: 1\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(
            f"[workbench.backends]\n{name} = {module.stem}:BACKEND\n", encoding="utf-8"
        )
        shutil.copyfile(module, folder / module.name)
    return folder
