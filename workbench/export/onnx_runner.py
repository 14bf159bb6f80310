"""An ONNX file run as it is written, without a runtime's optimization: what a rewrite computes, before any engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.errors import RunError, during
from workbench.models.bfloat16_models import by_openvino, holds_bfloat16
from workbench.models.ort_values import runner

if TYPE_CHECKING:
    import numpy as np

UNOPTIMIZED = "the rewritten file, run by ONNX Runtime as it is written"
BY_OPENVINO = "the rewritten file, run by OpenVINO"
"""What runs BF16, for which ONNX Runtime's CPU provider has no kernels."""


class OnnxFile:
    """A session over an ONNX file; ``basis`` says what runs it."""

    def __init__(self, path: Path) -> None:
        """Open ``path``.

        Raises:
            RunError: nothing here runs it.
        """
        import onnx

        self.basis = UNOPTIMIZED
        with during("run", "the rewritten file", RunError):
            if not holds_bfloat16(onnx.load(path, load_external_data=False)):
                self._run = _by_onnxruntime(path)
            elif find_spec("openvino") is not None:
                self.basis, self._run = BY_OPENVINO, by_openvino(path, "bf16")
            else:
                raise RunError("Nothing here runs a BF16 file to score it. To change that: pip install openvino")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._run

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._run(feeds)

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self._run(feeds)


Run = Callable[[Mapping[str, Any]], dict[str, Any]]


def _by_onnxruntime(path: Path) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # the default level computes garbage from FP8, and any level may fuse what another engine does not
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return runner(session)
