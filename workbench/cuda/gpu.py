"""NVIDIA GPUs through PyCUDA: one primary context, streams, buffers, events, graphs. No other package imports PyCUDA.

Engine libraries use CUDA's runtime API, which works in the device's primary context. That context is therefore retained here
and made current, and ``pycuda.autoinit``, which creates another one, is refused. PyCUDA has no CUDA graphs: these come from
``cuda.bindings``, which works in the same context on the same stream.

A backend gives :class:`CudaSession` a function that creates an :class:`Engine` on a stream. Everything between NumPy arrays and
the launch is done here and in :mod:`workbench.cuda.lane`, so that all GPU backends are timed over the same regions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from workbench.cuda.lane import Engine, Lane
from workbench.cuda.stream_threads import StreamThreads
from workbench.errors import RunError
from workbench.protocols import AVAILABLE, Availability, Caller, Callers, Closing, unavailable
from workbench.records import DeviceFacts, EngineSpec, GpuState, Region, Wait
from workbench.system import nvml
from workbench.system.machine import this_machine

if TYPE_CHECKING:
    import numpy as np

    from workbench.system.energy import EnergyCounter

__all__ = ["DEVICE", "CudaSession", "Engine", "here", "measures"]

DEVICE = "cuda:0"
IMPORTS = ("pycuda.driver",)
"""Modules to import before the opening of an engine is timed."""

SPLIT_CALLS = 20
SPLIT_WARM_UP = 2


def here() -> Availability:
    """Whether an engine can run on an NVIDIA GPU in this process. Creates no context and imports nothing heavy."""
    if not this_machine().gpu:
        return unavailable("no NVIDIA GPU with a driver was found on this machine", "use a machine with an NVIDIA GPU")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return unavailable("the variable CUDA_VISIBLE_DEVICES hides the GPU", "unset it")
    if find_spec("pycuda") is None:
        return unavailable("the package 'pycuda' is not installed", 'pip install "inference-workbench[gpu]"')
    return AVAILABLE


def measures(spec: EngineSpec, region: Region) -> Availability:
    """Whether a session of this variant can be timed over the region."""
    if region == Region.DEVICE and spec.streams > 1:
        return unavailable(
            "the GPU's time of one call is not meaningful while other calls are in flight", "use one stream"
        )
    return AVAILABLE


class CudaSession(Closing):
    """An open engine on the GPU: a :class:`workbench.protocols.GpuSession`.

    ``make`` is called with the handle of a stream, once for each stream with the primary context current, and returns the engine
    that launches on it. Use and close the session in the thread that created it.

    Raises:
        RunError: there is no usable GPU, PyCUDA is not installed, or ``pycuda.autoinit`` was imported.
    """

    def __init__(self, make: Callable[[int], Engine], *, streams: int = 1, graph: bool = False) -> None:
        self._driver = _driver()
        self._device = self._driver.Device(0)
        self._context: Any = _primary_context()
        self._context.push()
        self._lanes: list[Lane] = []
        self._crew: StreamThreads | None = None
        self._feeds: Mapping[str, np.ndarray] = {}
        self._gpu = nvml.gpu(self._device.pci_bus_id())
        self._free_before = self._driver.mem_get_info()[0]
        self._memory: tuple[int, str] = (0, "")
        try:
            for _ in range(streams):
                self._lanes.append(Lane(self._driver, make, graph))
            if streams > 1:
                self._crew = StreamThreads(streams, self._context.push, self._context.pop)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all streams in their context, then pop the context."""
        if self._context is None:
            return
        try:
            if self._crew:
                self._crew.close()
            for lane in self._lanes:
                lane.close()
        finally:
            self._lanes.clear()
            context, self._context = self._context, None
            context.pop()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy the inputs to the device, launch, copy the outputs, and wait."""
        lane = self._lanes[0]
        lane.prepare(feeds)
        return lane.round_trip(feeds)

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return self.timed(feeds, Region.COMPUTE)

    def timed(
        self,
        feeds: Mapping[str, np.ndarray],
        region: Region,
        *,
        wait: Wait = Wait.SPIN,
        copies: bool = False,
        together: bool = True,
    ) -> Callable[[], int | None]:
        """See :meth:`workbench.protocols.GpuSession.timed`.

        Raises:
            RunError: the inputs do not fit the engine, or the region is device with several streams.
        """
        if region == Region.DEVICE and len(self._lanes) > 1:
            raise RunError(
                "The GPU's time of one call is not meaningful while other calls are in flight. Choose one stream."
            )
        self.drain()
        for lane in self._lanes:
            lane.prepare(feeds)
            lane.wait = lane.waits[wait]
            lane.put(feeds)
            lane.copy_in()
            lane.wait()
        self._feeds = feeds
        self._note_memory()
        if self._crew:
            whole = region == Region.HOST_TO_HOST
            self._crew.calls = [lane.round_trips(feeds) if whole else lane.launch_and_wait for lane in self._lanes]
            return self._crew
        lane = self._lanes[0]
        if region == Region.DEVICE:
            return (lambda: sum(lane.parts(feeds))) if copies else lane.device_call(together=together)
        return lane.launch_and_wait if region == Region.COMPUTE else lane.round_trips(feeds)

    def callers(self, count: int) -> Callers:
        """Give each caller its own stream, engine and buffers; its thread works in the primary context."""
        if count > len(self._lanes):
            raise RunError(
                f"{count} callers were requested, but the engine was opened with {len(self._lanes)} streams. "
                "Open it with as many streams."
            )
        self.drain()
        push, pop = self._context.push, self._context.pop
        each = (Caller(lane.answer, lane.staged, push, pop) for lane in self._lanes[:count])
        return Callers(tuple(each), "a stream for each")

    def drain(self) -> None:
        if self._crew:
            self._crew.rest()
        for lane in self._lanes:
            lane.drain()

    @property
    def runs(self) -> int:
        """Runs of the engine in one sample of the inputs that were staged last."""
        return len(self._lanes) if self._crew else self._lanes[0].runs

    def state(self) -> GpuState | None:
        """Clocks, power and temperature now; ``None``: NVML is not available."""
        return self._gpu.state() if self._gpu else None

    def energy_counters(self) -> list[EnergyCounter]:
        """The counter of the whole board; empty if NVML is not available or the board has none."""
        counter = self._gpu.energy() if self._gpu else None
        return [counter] if counter else []

    def facts(self) -> DeviceFacts:
        self.drain()
        lane = self._lanes[0]
        parts = [lane.parts(self._feeds) for _ in range(SPLIT_WARM_UP + SPLIT_CALLS)][SPLIT_WARM_UP:]
        self._note_memory()
        copy_in, compute, copy_out = zip(*parts, strict=True)
        return DeviceFacts(
            device=f"{DEVICE}, {self._device.name()}",
            copy_in_ns=copy_in,
            compute_ns=compute,
            copy_out_ns=copy_out,
            memory_bytes=self._memory[0],
            memory_basis=self._memory[1],
            graph=all(each.graph for each in self._lanes),
            runs=self.runs,
            graph_note=next((each.graph_note for each in self._lanes if each.graph_note), ""),
        )

    def _note_memory(self) -> None:
        """Record the largest device memory in use so far; libraries do not return what they allocated."""
        used = self._gpu.memory_of(os.getpid()) if self._gpu else None
        if used is not None:
            found = used, "NVML, this process with its CUDA context"
        else:
            taken = self._free_before - self._driver.mem_get_info()[0]
            found = max(0, taken), "fall of the device's free memory since the engine was opened"
        self._memory = max(self._memory, found)


@cache
def _primary_context() -> Any:
    """The primary context, kept until the process ends: PyCUDA leaves a context current when its last reference is released."""
    return _driver().Device(0).retain_primary_context()


def _driver() -> Any:
    if "pycuda.autoinit" in sys.modules:
        raise RunError(
            "'pycuda.autoinit' was imported in this process. It creates another CUDA context, which engine libraries do "
            "not use. Remove that import; the workbench uses the device's primary context."
        )
    try:
        from pycuda import driver
    except ImportError as cause:
        raise RunError(
            f'PyCUDA cannot be imported ({cause}). Install it: pip install "inference-workbench[gpu]".'
        ) from cause
    try:
        driver.init()
        found = driver.Device.count()
    except driver.Error as cause:
        raise RunError(f"CUDA found no usable GPU ({cause}). Check the driver and CUDA_VISIBLE_DEVICES.") from cause
    if not found:
        raise RunError("CUDA found no GPU. Check the driver and CUDA_VISIBLE_DEVICES.")
    return driver
