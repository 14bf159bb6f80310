"""Runners of ONNX models that compute in bfloat16, for which ONNX Runtime's CPU provider has few kernels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import bfloat16
from workbench.models.onnx_file import graphs
from workbench.models.openvino_tensors import Names, by_place, reader
from workbench.models.ort_values import Run

if TYPE_CHECKING:
    import numpy as np


def holds_bfloat16(model: Any) -> bool:
    """Whether an input, an output or a stored tensor of a ``ModelProto`` is bfloat16."""
    import onnx

    brain = onnx.TensorProto.BFLOAT16
    values = (*model.graph.input, *model.graph.output)
    return any(value.type.tensor_type.elem_type == brain for value in values) or any(
        tensor.data_type == brain for part in graphs(model.graph) for tensor in part.initializer
    )


def runner(path: Path) -> tuple[Run, str]:
    """A runner of the file and the name of its library: OpenVINO where it is installed, else ONNX's slow reference evaluator.

    Raises the errors of the library for a file that it does not accept.
    """
    if find_spec("openvino") is not None:
        return by_openvino(path, "f32"), "OpenVINO"
    return _by_reference(path), "ONNX's reference evaluator"


def by_openvino(path: Path, precision: str) -> Run:
    """OpenVINO with one thread; ``precision`` is its inference precision hint, ``f32`` or ``bf16``."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request, names = compiled.create_infer_request(), Names.of_onnx(path, compiled)
    read = reader(names, compiled)
    return lambda feeds: read(request.infer(by_place(names, compiled, feeds)))  # copies


def _by_reference(path: Path) -> Run:
    import ml_dtypes
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    evaluator = ReferenceEvaluator(model)
    names = [value.name for value in model.graph.output]
    brains = {
        value.name for value in model.graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16
    }

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {name: array.astype(ml_dtypes.bfloat16) if name in brains else array for name, array in feeds.items()}
        found = evaluator.run(names, given)
        return {name: bfloat16.real(array) for name, array in zip(names, found, strict=True)}

    return run
