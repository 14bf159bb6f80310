# ruff: noqa: SLF001 - the bare loop launches the very session that the workbench opened
"""The workbench's loop and a bare one over the very same session in one process: a child of ``gpu_overhead.py``.

Two sessions of one engine differ by themselves (which kernels cuDNN chose, where memory came to lie), and two processes by the
core that they run on. Here neither does: both loops launch the same ONNX Runtime session on the same stream with the same
buffers, and take turns every few calls. The first line on stdin says which engine and which inputs; every further line asks for
one turn of each loop, answered by a line with the medians in nanoseconds.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import runtime as cu
from gpu_bare import Loop
from gpu_stream import timed

from workbench import backends
from workbench.records import EngineRecord, Region, from_json
from workbench.timing import benchmark


class PlanLoop(Loop):
    """The same around a TensorRT execution context."""

    def enqueue(self) -> None:
        self.session.execute_async_v3(self.binding)


def bare_loop(lane: Any) -> Loop:
    """A loop over the very engine, buffers and stream of the workbench's session."""
    engine, stream = lane._engine, cu.cudaStream_t(lane._handle)
    if hasattr(engine, "_context"):
        return PlanLoop(engine._context, lane._handle, None, stream)
    return Loop(engine._session, engine._binding, engine._run, stream)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on stdout
    first = json.loads(sys.stdin.readline())
    record = from_json(EngineRecord, first["record"])
    with np.load(first["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    with backends.get(record.spec.backend).open(Path(first["folder"]), record) as session:
        call = session.timed(feeds, Region.COMPUTE)
        loop = bare_loop(session._lanes[0])
        start = loop.captured(1) if record.spec.cuda_graph else loop.enqueue

        def bare() -> list[int]:
            timed(start, loop.wait, benchmark.REHEAT_S)
            found = timed(start, loop.wait, first["seconds"])
            benchmark.settle()
            return found

        turns: dict[str, Callable[[], list[int]]] = {
            "workbench": lambda: benchmark.timed_block(call, first["seconds"]).samples_ns,
            "bare": bare,
            "again": bare,
        }
        benchmark.warm_up(call, first["warm_up_s"])
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            found = {name: float(np.median(turns[name]())) for name in random.sample(list(turns), len(turns))}
            print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
