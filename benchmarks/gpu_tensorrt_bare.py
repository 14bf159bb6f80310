"""One TensorRT plan on an NVIDIA GPU with nothing of the workbench around it: the yardstick of ``gpu_tensorrt.py``, which runs this as a
child.

Imports tensorrt, NumPy and NVIDIA's own ``cuda.bindings`` (no PyCUDA); takes the plan that the workbench built. The first line on
stdin says which plan and which inputs, every further line asks for one measurement, as for ``gpu_bare.py``; besides there is
``polygraphy``: Polygraphy's ``TrtRunner.infer``, arrays in and arrays out.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
from cuda.bindings import runtime as cu
from gpu_stream import Stream, checked, timed


class Bare(Stream):
    """An engine with inputs and outputs bound, and the stream that it launches on."""

    def __init__(self, plan: bytes, feeds: dict[str, np.ndarray]) -> None:
        self.log = trt.Logger(trt.Logger.ERROR)
        self.runtime = trt.Runtime(self.log)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.stream = checked(cu.cudaStreamCreateWithFlags(cu.cudaStreamNonBlocking))
        for name, array in feeds.items():
            self.context.set_input_shape(name, array.shape)
        for number in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(number)
            shape = tuple(self.context.get_tensor_shape(name))
            dtype = np.dtype(trt.nptype(self.engine.get_tensor_dtype(name)))
            size = int(np.prod(shape)) * dtype.itemsize
            address = checked(cu.cudaMalloc(size))
            self.context.set_tensor_address(name, int(address))
            if name in feeds:
                kind = cu.cudaMemcpyKind.cudaMemcpyHostToDevice
                checked(cu.cudaMemcpy(address, np.ascontiguousarray(feeds[name]).ctypes.data, size, kind))
        self.enqueue()
        self.wait()

    def enqueue(self) -> None:
        self.context.execute_async_v3(int(self.stream))


def polygraphy(engine: Any, feeds: dict[str, np.ndarray]) -> Callable[[], None]:
    if not hasattr(np, "unicode_"):
        vars(np)["unicode_"] = np.str_  # Polygraphy up to 0.48, which fits TensorRT 8.6, uses the name of NumPy 1
    from polygraphy.backend.trt import TrtRunner
    from polygraphy.backend.trt import util as lookups

    # asking the bindings of 8.6.1 for it ends the process where the library is 8.6.0
    lookups.get_tensor_format = lambda *_: trt.TensorFormat.LINEAR
    runner = TrtRunner(engine)
    runner.activate()
    return lambda: runner.infer(feeds, check_inputs=False)


def main() -> None:
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Polygraphy prints on stdout
    first: dict[str, Any] = json.loads(sys.stdin.readline())
    with np.load(first["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    bare = Bare(Path(first["engine"]).read_bytes(), feeds)
    starts: dict[tuple[str, int], Callable[[], object]] = {("loop", 1): bare.enqueue}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        what, runs = asked["what"], asked.get("launches", 1)
        if (what, runs) not in starts:
            starts[what, runs] = polygraphy(bare.engine, feeds) if what == "polygraphy" else bare.captured(runs)
        wait = (lambda: None) if what == "polygraphy" else bare.wait
        timed(starts[what, runs], wait, asked["warm_up_s"])
        found = timed(starts[what, runs], wait, asked["seconds"])
        print(json.dumps([duration / runs for duration in found]), file=answers, flush=True)


if __name__ == "__main__":
    main()
