"""CUDA graphs by capture, through ``cuda.bindings``: record the launches of one run and replay them with one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.errors import brief


class CudaGraph:
    """A captured run that can be launched on its stream."""

    def __init__(self, runtime: Any, executable: Any, stream: int) -> None:
        self._runtime, self._executable = runtime, executable
        self._stream = runtime.cudaStream_t(stream)

    def launch(self) -> None:
        """Start the replay without waiting for it.

        Raises:
            RuntimeError: CUDA returned an error.
        """
        (status,) = self._runtime.cudaGraphLaunch(self._executable, self._stream)
        if status:
            raise RuntimeError(f"cudaGraphLaunch: {status.name}")

    def close(self) -> None:
        self._runtime.cudaGraphExecDestroy(self._executable)


def captured(enqueue: Callable[[], None], stream: int) -> tuple[CudaGraph | None, str]:
    """Capture the launches of ``enqueue`` on the stream: the graph and "", or ``None`` and the reason.

    ``enqueue`` must have run once outside a capture. The stream is in its previous state afterwards, also after an error.
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
        runtime.cudaGetLastError()  # otherwise the next launch would report this error
        if not status:
            runtime.cudaGraphDestroy(graph)
        return None, f"the run could not be captured: {problem or status.name}"
    status, executable = runtime.cudaGraphInstantiate(graph, 0)
    runtime.cudaGraphDestroy(graph)
    if status:
        return None, f"the captured run could not be instantiated: {status.name}"
    return CudaGraph(runtime, executable, stream), ""
