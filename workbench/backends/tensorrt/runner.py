"""Run the plan of a deployment by TensorRT, from arrays in host memory to arrays in host memory.

This file is copied into deployments; it imports NumPy's and TensorRT's packages and calls the NVIDIA driver's own library for memory and
copies. A plan runs on GPUs of the kind that it was built for, by the release of TensorRT that built it.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]
NON_BLOCKING = 1


def open_model(folder: Path, options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, Any]]:
    """Open the plan ``options["file"]`` in ``folder`` on the first GPU.

    Args:
        folder: the folder with the model's files.
        options: ``file``; ``module``, the name of TensorRT's package; ``outputs``, the dtype of each output by name.

    Returns:
        A function from arrays by input name to arrays by output name. Threads that call it at once take turns.

    Raises:
        RuntimeError: there is no GPU, or TensorRT does not open the plan on it.

    """
    import numpy as np

    trt, driver, lock = importlib.import_module(options["module"]), Driver(), threading.Lock()
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine((folder / options["file"]).read_bytes())
    if engine is None:
        raise RuntimeError(
            f"TensorRT {trt.__version__} does not open the plan on this GPU; README.md says what built it"
        )
    context, dtypes = engine.create_execution_context(), dict(options["outputs"])

    def typed(name: str) -> Any:
        return np.dtype(trt.nptype(engine.get_tensor_dtype(name)))

    def run(feeds: Arrays) -> dict[str, Any]:
        with lock:
            driver.use()
            given = {name: np.ascontiguousarray(array, typed(name)) for name, array in feeds.items()}
            for name, array in given.items():
                if not context.set_input_shape(name, array.shape):
                    raise ValueError(f"the plan does not take '{name}' of the shape {array.shape}")
                context.set_tensor_address(name, driver.memory(name, array.nbytes))
                driver.send(name, array)
            found = {name: np.empty(tuple(context.get_tensor_shape(name)), typed(name)) for name in dtypes}
            for name, array in found.items():
                context.set_tensor_address(name, driver.memory(name, array.nbytes))
            if not context.execute_async_v3(driver.stream):
                raise RuntimeError("TensorRT did not run the plan")
            for name, array in found.items():
                driver.fetch(name, array)
            driver.wait()
        return {name: array.astype(dtypes[name], copy=False) for name, array in found.items()}

    return run


class Driver:
    """The driver's functions that a session needs: one stream, and a piece of device memory for each tensor."""

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as cause:
            raise RuntimeError(f"there is no NVIDIA driver: {cause}") from cause
        device, self._context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.use()
        self._call("cuStreamCreate", ctypes.byref(stream), NON_BLOCKING)
        self.stream = int(stream.value or 0)
        self._memory: dict[str, tuple[int, int]] = {}  # address and size

    def use(self) -> None:
        """Make the GPU's context that of this thread."""
        self._call("cuCtxSetCurrent", self._context)

    def memory(self, name: str, size: int) -> int:
        """The address of a tensor's memory, which holds at least ``size`` bytes."""
        address, known = self._memory.get(name, (0, 0))
        if known < size or not address:
            if address:
                self._call("cuMemFree_v2", ctypes.c_uint64(address))
            made = ctypes.c_uint64()
            self._call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(max(1, size)))
            address = made.value
            self._memory[name] = address, max(1, size)
        return address

    def send(self, name: str, array: Any) -> None:
        """Copy a contiguous array to its tensor's memory."""
        place = ctypes.c_uint64(self._memory[name][0])
        self._call("cuMemcpyHtoDAsync_v2", place, ctypes.c_void_p(array.ctypes.data), *self._rest(array))

    def fetch(self, name: str, array: Any) -> None:
        """Copy a tensor's memory to a contiguous array."""
        place = ctypes.c_uint64(self._memory[name][0])
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), place, *self._rest(array))

    def wait(self) -> None:
        """Return when all of the stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _rest(self, array: Any) -> tuple[Any, Any]:
        return ctypes.c_size_t(array.nbytes), ctypes.c_void_p(self.stream)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._cuda, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"{name} failed: {(text.value or b'no reason was given').decode()}")
