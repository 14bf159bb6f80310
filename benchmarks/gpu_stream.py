"""A CUDA stream by NVIDIA's own ``cuda.bindings``: waiting, capture and timing, for the processes without the workbench."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cuda.bindings import runtime as cu


def checked(answer: Any) -> Any:
    status, *values = answer
    if status:
        raise SystemExit(f"CUDA refused: {status.name}")
    return values[0] if values else None


class Stream:
    """An engine that is enqueued on one stream; subclasses set ``stream`` and define :meth:`enqueue`."""

    stream: Any

    def enqueue(self) -> None:
        raise NotImplementedError

    def wait(self) -> None:
        cu.cudaStreamSynchronize(self.stream)

    def captured(self, runs: int) -> Callable[[], None]:
        """A call that replays this many runs as one graph, without waiting."""
        checked(cu.cudaStreamBeginCapture(self.stream, cu.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        for _ in range(runs):
            self.enqueue()
        graph = checked(cu.cudaStreamEndCapture(self.stream))
        executable = checked(cu.cudaGraphInstantiate(graph, 0))
        launch, stream = cu.cudaGraphLaunch, self.stream
        checked(launch(executable, stream))
        self.wait()
        return lambda: launch(executable, stream)


def timed(start: Callable[[], object], wait: Callable[[], object], seconds: float, at_least: int = 3) -> list[int]:
    durations: list[int] = []
    clock = time.perf_counter_ns
    end = clock()
    until = end + int(seconds * 1e9)
    while end < until or len(durations) < at_least:
        began = clock()
        start()
        wait()
        end = clock()
        durations.append(end - began)
    return durations
