"""One engine in a loop with nothing around it: the yardstick of ``overhead.py``, which runs this as a child process.

Imports onnxruntime and NumPy, and nothing of the workbench. The first line on stdin says which engine and which inputs; the
session options are those that the workbench opens its ONNX Runtime engines with. Every further line asks for one block of
timed calls, answered by a line with the duration of each in nanoseconds.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime as ort


def open_session(engine: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the file is optimized already
    return ort.InferenceSession(engine, options, providers=["CPUExecutionProvider"])


def main() -> None:
    first = json.loads(sys.stdin.readline())
    session = open_session(first["engine"], first["threads"])
    with np.load(first["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    _loop(session, feeds, first["warm_up_s"])
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        _loop(session, feeds, asked["reheat_s"])  # another process has just used the caches
        print(json.dumps(_loop(session, feeds, asked["seconds"])), flush=True)


def _loop(session: ort.InferenceSession, feeds: dict[str, np.ndarray], seconds: float) -> list[int]:
    durations = []
    until = time.perf_counter_ns() + int(seconds * 1e9)
    end = 0
    while end < until:
        start = time.perf_counter_ns()
        session.run(None, feeds)
        end = time.perf_counter_ns()
        durations.append(end - start)
    return durations


if __name__ == "__main__":
    main()
