"""CUDA graphs by capture, through ``cuda.bindings``: the launches of one run are recorded and replayed with one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.errors import brief


class Graph:
    """A captured run that can be launched on its stream."""

    def __init__(self, runtime: Any, executable: Any, stream: int) -> None:
        self._runtime, self._executable = runtime, executable
        self._stream = runtime.cudaStream_t(stream)

    def launch(self) -> None:
        """Replay, without waiting.

        Raises:
            RuntimeError: CUDA refused.
        """
        (status,) = self._runtime.cudaGraphLaunch(self._executable, self._stream)
        if status:
            raise RuntimeError(f"cudaGraphLaunch: {status.name}")

    def close(self) -> None:
        self._runtime.cudaGraphExecDestroy(self._executable)


def captured(enqueue: Callable[[], None], stream: int) -> tuple[Graph | None, str]:
    """The graph of what ``enqueue`` launches on the stream, or ``None`` and why it could not be captured.

    ``enqueue`` must have run once outside of a capture. Afterwards the stream is as it was before, whatever happened.
    """
    try:
        from cuda.bindings import runtime
    except ImportError:
        return None, "the package 'cuda-python' is not installed"
    handle = runtime.cudaStream_t(stream)
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    (status,) = runtime.cudaStreamBeginCapture(handle, mode)
    if status:
        return None, f"the capture did not begin: {status.name}"
    problem = ""
    try:
        enqueue()
    except Exception as cause:
        problem = brief(cause)
    status, graph = runtime.cudaStreamEndCapture(handle)
    if status or problem:
        runtime.cudaGetLastError()  # an error that stays behind would be told of the next launch
        if not status:
            runtime.cudaGraphDestroy(graph)
        return None, f"the run could not be captured: {problem or status.name}"
    status, executable = runtime.cudaGraphInstantiate(graph, 0)
    runtime.cudaGraphDestroy(graph)
    if status:
        return None, f"the captured run could not be instantiated: {status.name}"
    return Graph(runtime, executable, stream), ""
