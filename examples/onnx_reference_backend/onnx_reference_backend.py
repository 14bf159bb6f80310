"""The ONNX package's reference evaluator as a backend: every operator in NumPy, as ONNX defines it. It is slow."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseBackend, BaseSession
from workbench.precision.read_back import formats_of
from workbench.protocols import Built, Progress, Source

if TYPE_CHECKING:
    from pathlib import Path

    from workbench.records import EngineRecord, EngineSpec

FILE = "engine.onnx"


class OnnxReference(BaseBackend):
    name = "onnxref"
    title = "ONNX reference"
    modes = {"": "the ONNX package's reference evaluator, operator by operator in NumPy"}
    distributions = ("onnx",)
    imports = ("onnx.reference", "numpy")

    def build(self, source: Source, spec: EngineSpec, into: Path, progress: Progress) -> Built:
        import onnx

        shutil.copyfile(source.path, into / FILE)
        realized = formats_of(into / FILE, "node types of the ONNX file")
        return Built(library="ONNX reference evaluator", library_version=onnx.__version__, realized=realized)

    def open(self, engine: Path, record: EngineRecord) -> ReferenceSession:
        return ReferenceSession(engine / FILE)


class ReferenceSession(BaseSession):
    def __init__(self, path: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(str(path))

    def run(self, feeds: Any) -> dict[str, Any]:
        outputs = self._evaluator.run(None, dict(feeds))
        return dict(zip(self._evaluator.output_names, outputs, strict=True))


BACKEND = OnnxReference()
