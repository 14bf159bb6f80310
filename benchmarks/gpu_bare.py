"""One engine on an NVIDIA GPU with nothing of the workbench around it: the yardstick of ``gpu.py`` and
``gpu_overhead.py``, which run this as a child.

Imports onnxruntime, NumPy and NVIDIA's own ``cuda.bindings`` (no PyCUDA): stream, capture and waiting are written here a second
time. The first line on stdin says which engine and which inputs. Every further line asks for one measurement, answered by a
line with durations in nanoseconds:

* ``loop``: enqueue and wait, one call after another, by the host's clock;
* ``graph``: the same with the replay of one captured run;
* ``replay``: one graph that holds many runs; the host's time of its replay divided by their number.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda.bindings import runtime as cu
from gpu_stream import Stream, checked, timed


class Loop(Stream):
    """A session with inputs and outputs bound, and the stream that it launches on."""

    def __init__(self, session: Any, binding: Any, run_options: Any, stream: Any) -> None:
        self.session, self.binding, self.run_options, self.stream = session, binding, run_options, stream

    def enqueue(self) -> None:
        self.session.run_with_iobinding(self.binding, self.run_options)


def opened(first: dict[str, Any]) -> Loop:
    """The engine with its inputs on the device, on a stream of its own."""
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    stream = checked(cu.cudaStreamCreateWithFlags(cu.cudaStreamNonBlocking))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the file is optimized already
    settings = {"use_tf32": str(int(first["tf32"])), "user_compute_stream": str(int(stream))}
    if first["graphs"]:
        settings["enable_cuda_graph"] = "1"
    providers = [("CUDAExecutionProvider", settings), "CPUExecutionProvider"]
    session = ort.InferenceSession(first["engine"], options, providers=providers)
    binding = session.io_binding()
    with np.load(first["feeds"]) as file:
        for name in file.files:
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(file[name], "cuda", 0))
    run_options = ort.RunOptions()
    run_options.add_run_config_entry("gpu_graph_id", "-1")
    outputs = [output.name for output in session.get_outputs()]
    for name in outputs:
        binding.bind_output(name, "cuda", 0)
    session.run_with_iobinding(binding, run_options)
    # from now on at fixed places
    for name, value in zip(outputs, binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(name, value)
    run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    loop = Loop(session, binding, run_options, stream)
    loop.enqueue()
    loop.wait()
    return loop


def main() -> None:
    bare = opened(json.loads(sys.stdin.readline()))
    graphs: dict[int, Callable[[], None]] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        runs = asked.get("launches", 1)
        if asked["what"] == "loop":
            start: Callable[[], object] = bare.enqueue
        else:
            if runs not in graphs:
                graphs[runs] = bare.captured(runs)
            start = graphs[runs]
        timed(start, bare.wait, asked["warm_up_s"])
        found = timed(start, bare.wait, asked["seconds"])
        print(json.dumps([duration / runs for duration in found]), flush=True)


if __name__ == "__main__":
    main()
