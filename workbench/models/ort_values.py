"""Arrays in and out of sessions of ONNX Runtime, bfloat16 among them, which its ``run`` neither takes nor gives."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.data import bfloat16

if TYPE_CHECKING:
    import numpy as np

BFLOAT16 = "tensor(bfloat16)"

Run = Callable[[Mapping[str, "np.ndarray"]], dict[str, "np.ndarray"]]


def runner(session: Any) -> Run:
    """``session.run`` by name. bfloat16 goes in and comes out as float32; without such inputs and outputs nothing is added."""
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
    """What an ``OrtValue`` on the CPU holds, as a new array."""
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
