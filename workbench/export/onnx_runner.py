"""Run an ONNX file without optimization, which gives the outputs of a rewrite independently of engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from workbench.errors import RunError, during
from workbench.models.bfloat16_models import by_openvino, holds_bfloat16
from workbench.models.ort_values import runner, unoptimized

if TYPE_CHECKING:
    import numpy as np

UNOPTIMIZED = "the rewritten file, run by ONNX Runtime without optimization"
BY_OPENVINO = "the rewritten file, run by OpenVINO"
"""Used for BF16, for which ONNX Runtime's CPU provider has no kernels."""


class OnnxFile:
    """A session over an ONNX file; ``basis`` describes the runtime."""

    def __init__(self, path: Path) -> None:
        """Open ``path``.

        Raises:
            RunError: no installed runtime can run it.
        """
        import onnx

        self.basis = UNOPTIMIZED
        with during("run", "the rewritten file", RunError):
            if not holds_bfloat16(onnx.load(path, load_external_data=False)):
                self._run = runner(unoptimized(path))
            elif find_spec("openvino") is not None:
                self.basis, self._run = BY_OPENVINO, by_openvino(path, "bf16")
            else:
                raise RunError("No installed runtime can score a BF16 file. To install one: pip install openvino")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._run

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._run(feeds)

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return lambda: self._run(feeds)
