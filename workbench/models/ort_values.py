"""Sessions of ONNX Runtime that run a graph as it is written, and their inputs and outputs, including bfloat16, which ``run`` does not support."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import bfloat16

if TYPE_CHECKING:
    import numpy as np

BFLOAT16 = "tensor(bfloat16)"
Run = Callable[[Mapping[str, "np.ndarray"]], dict[str, "np.ndarray"]]


def unoptimized(model: str | Path | bytes, options: Any = None) -> Any:
    """A session of ONNX Runtime on one thread of the CPU that runs every node as it is written, and logs nothing.

    The default level of optimization gives wrong results for FP8, and any level may fuse what another engine does not.
    """
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def runner(session: Any) -> Run:
    """A function that runs a session with inputs and outputs by name; bfloat16 inputs and outputs are float32 arrays."""
    inputs = {value.name: value.type for value in session.get_inputs()}
    kinds = {value.name: value.type for value in session.get_outputs()}
    names = list(kinds)
    if BFLOAT16 not in (*inputs.values(), *kinds.values()):
        return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {name: value_of(array, inputs.get(name, "")) for name, array in feeds.items()}
        found = session.run_with_ort_values(names, values)
        return {name: array_of(value) for name, value in zip(names, found, strict=True)}

    return run


def value_of(array: np.ndarray, kind: str) -> Any:
    """An ``OrtValue`` on the CPU that holds the array, as bfloat16 where ``kind`` is :data:`BFLOAT16`."""
    import onnx
    import onnxruntime as ort

    if kind != BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy(array)
    bits = bfloat16.to_bits(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)


def array_of(value: Any) -> np.ndarray:
    """The value of an ``OrtValue`` on the CPU as a new array."""
    import numpy as np

    if value.data_type() != BFLOAT16:
        array: np.ndarray = value.numpy()
        return array
    shape = value.shape()
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.zeros(shape, np.float32)
    memory = (ctypes.c_uint16 * count).from_address(value.data_ptr())
    return bfloat16.from_bits(np.ctypeslib.as_array(memory)).reshape(shape)
