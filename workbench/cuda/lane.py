"""One CUDA stream of a session: an engine, the buffers of its tensors, and the events between copies and launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from workbench.cuda.graph import CudaGraph, captured
from workbench.data import bfloat16
from workbench.errors import RunError
from workbench.records import Wait

if TYPE_CHECKING:
    import numpy as np

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not synchronized with the default stream, which libraries may use


LARGE_BYTES = 2**20
"""Inputs of at least this size are copied to the device without being copied into pinned memory first: CUDA then does it in parts, and sends
one while it copies the next. On an H200 that took 3.0 ms in place of 4.5 ms for 39 MB; small inputs take as long either way.
"""
SHORT_NS = 500_000
"""Captured runs shorter than this are timed several at a time."""
MOST_RUNS = 100
TRIED = 5


class Engine(Protocol):
    """One execution context of a GPU library, on one stream."""

    def shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Set the input shapes; return the shape and dtype of every output.

        The result may include inputs; their dtypes are then checked before raw memory is passed. The optional attribute
        ``no_graph`` is the reason why the engine's launches must not be captured.
        """
        ...

    def bind(self, name: str, address: int) -> None:
        """Set the device address of an input or output."""
        ...

    def enqueue(self, stream: int) -> None:
        """Launch once on the stream (a cudaStream_t as int), without waiting."""
        ...

    def close(self) -> None: ...


class Buffer:
    """The memory of one tensor: pinned on the host, and on the device (aligned to 256 bytes by the driver)."""

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        import numpy as np

        # CUDA cannot allocate zero bytes
        self.host: np.ndarray = driver.pagelocked_empty(shape, dtype) if 0 not in shape else np.empty(shape, dtype)
        self.device = driver.mem_alloc(max(1, self.host.nbytes))
        self.address = int(self.device)

    def free(self) -> None:
        self.device.free()


class Lane:
    """One stream with its engine, the buffers of its tensors, its events and its captured graph, if any."""

    def __init__(self, driver: Any, make: Callable[[int], Engine], graph: bool) -> None:
        self._driver = driver
        self._stream = driver.Stream(NON_BLOCKING)
        self._handle = int(self._stream.handle)
        self._events = [driver.Event() for _ in range(4)]
        self._asleep = driver.Event(driver.event_flags.BLOCKING_SYNC | driver.event_flags.DISABLE_TIMING)
        self._wants_graph = graph
        self._inputs: dict[str, Buffer] = {}
        self._outputs: dict[str, Buffer] = {}
        self._prepared: object = None
        self.waits: dict[Wait, Callable[[], None]] = {
            Wait.SPIN: self._stream.synchronize,
            Wait.BLOCK: self._sleep_until_done,
        }
        self.wait = self.waits[Wait.SPIN]
        self.graph: CudaGraph | None = None
        self.graph_note = ""
        self._many: CudaGraph | None = None
        self.runs = 1  # of the engine in one sample of the region device
        self._engine = make(self._handle)
        self.launch: Callable[[], None] = self._enqueue

    def _enqueue(self) -> None:
        self._engine.enqueue(self._handle)

    def _sleep_until_done(self) -> None:
        self._asleep.record(self._stream)
        self._asleep.synchronize()

    def drain(self) -> None:
        self._stream.synchronize()

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Prepare the engine, its buffers and its graph for inputs of these shapes, if the shapes have changed.

        Raises:
            RunError: the dtype of an input is not that of the engine.
        """
        wanted = {name: (array.shape, array.dtype) for name, array in feeds.items()}
        if wanted == self._prepared:
            return
        self.drain()
        self._prepared = None
        self._free()
        found = self._engine.shapes({name: shape for name, (shape, _) in wanted.items()})
        for name, (_, dtype) in wanted.items():
            if name in found and found[name][1] != dtype:
                raise RunError(f"Input '{name}' is {dtype}, but the engine takes {found[name][1]}. Convert it.")
        for name, (shape, dtype) in wanted.items():
            self._inputs[name] = Buffer(self._driver, shape, dtype)
        for name, (shape, dtype) in found.items():
            if name not in wanted:
                self._outputs[name] = Buffer(self._driver, shape, dtype)
        for name, buffer in (*self._inputs.items(), *self._outputs.items()):
            self._engine.bind(name, buffer.address)
        self.put(feeds)
        self.copy_in()
        self._enqueue()  # once outside a capture: libraries choose kernels and allocate memory in the first run
        self._stream.synchronize()
        if self._wants_graph:
            self._capture()
        self._prepared = wanted

    def _capture(self) -> None:
        """Capture a run and use its replay from now on; if that fails, keep launching, and keep the reason."""
        self.graph_note = getattr(self._engine, "no_graph", "")
        if self.graph_note:
            return
        self._copy_out_and_wait()
        before = self.fetch()
        graph, self.graph_note = captured(self._enqueue, self._handle)
        if graph is None:
            return
        for buffer in self._outputs.values():
            self._driver.memset_d8_async(buffer.address, 0, max(1, buffer.host.nbytes), self._stream)
        graph.launch()
        self._copy_out_and_wait()
        if _same(before, self.fetch()):
            self.graph, self.launch = graph, graph.launch
        else:
            graph.close()
            self.graph_note = "the outputs of a replay differ from those of the run before it"

    def _copy_out_and_wait(self) -> None:
        self.copy_out()
        self._stream.synchronize()

    def put(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the inputs into pinned memory."""
        for name, buffer in self._inputs.items():
            buffer.host[...] = feeds[name]

    def copy_in(self) -> None:
        for buffer in self._inputs.values():
            if buffer.host.nbytes:
                self._driver.memcpy_htod_async(buffer.device, buffer.host, self._stream)

    def copy_out(self) -> None:
        for buffer in self._outputs.values():
            if buffer.host.nbytes:
                self._driver.memcpy_dtoh_async(buffer.host, buffer.device, self._stream)

    def fetch(self) -> dict[str, np.ndarray]:
        """The outputs, copied from pinned memory; bfloat16 is converted to float32."""
        return {name: bfloat16.real(buffer.host) for name, buffer in self._outputs.items()}

    def send(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the inputs to the device."""
        import numpy as np

        for name, buffer in self._inputs.items():
            if buffer.host.nbytes >= LARGE_BYTES:
                self._driver.memcpy_htod_async(buffer.device, np.ascontiguousarray(feeds[name]), self._stream)
            else:
                buffer.host[...] = feeds[name]
                if buffer.host.nbytes:
                    self._driver.memcpy_htod_async(buffer.device, buffer.host, self._stream)

    def round_trip(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.send(feeds)
        self.launch()
        self.copy_out()
        self.wait()
        return self.fetch()

    def round_trips(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        def call() -> None:
            self.round_trip(feeds)

        return call

    def answer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """:meth:`prepare`, then :meth:`round_trip`."""
        self.prepare(feeds)
        return self.round_trip(feeds)

    def staged(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """A callable that launches on inputs that are already on the device."""
        self.prepare(feeds)
        self.wait = self.waits[Wait.SPIN]
        self.put(feeds)
        self.copy_in()
        self.wait()
        return self.launch_and_wait

    def launch_and_wait(self) -> None:
        self.launch()
        self.wait()

    def device_ns(self) -> int:
        """Nanoseconds between two events around the launch. Events have a resolution of about half a microsecond."""
        before, after = self._events[:2]
        before.record(self._stream)
        self.launch()
        after.record(self._stream)
        self.wait()
        return int(before.time_till(after) * 1e6)

    def device_call(self, *, together: bool) -> Callable[[], int]:
        """A callable that returns the device's nanoseconds of one run.

        With ``together``, a captured run shorter than :data:`SHORT_NS` is captured again many times in one graph, and a sample is
        the mean over those runs: the overhead of two events around one short launch is microseconds.
        """
        if not together or self.graph is None:
            self._drop_many()
            return self.device_ns
        once = sorted(self.device_ns() for _ in range(TRIED))[TRIED // 2]
        runs = min(MOST_RUNS, -(-SHORT_NS // max(1, once)))
        if runs != self.runs:
            self._drop_many()
        if runs > 1 and self._many is None:
            self._many, _ = captured(lambda: self._enqueue_times(runs), self._handle)
        if self._many is None:
            return self.device_ns
        self.runs = runs
        return self._mean_ns

    def _enqueue_times(self, runs: int) -> None:
        for _ in range(runs):
            self._enqueue()

    def _mean_ns(self) -> int:
        assert self._many is not None
        before, after = self._events[:2]
        before.record(self._stream)
        self._many.launch()
        after.record(self._stream)
        self.wait()
        return int(before.time_till(after) * 1e6 / self.runs)

    def _drop_many(self) -> None:
        if self._many:
            self._many.close()
        self._many, self.runs = None, 1

    def parts(self, feeds: Mapping[str, np.ndarray]) -> tuple[int, int, int]:
        """Nanoseconds of one call's copy in, computation and copy out, by events."""
        start, copied, computed, end = self._events
        self.put(feeds)
        start.record(self._stream)
        self.copy_in()
        copied.record(self._stream)
        self.launch()
        computed.record(self._stream)
        self.copy_out()
        end.record(self._stream)
        self.wait()
        pairs = ((start, copied), (copied, computed), (computed, end))
        copy_in, compute, copy_out = (int(one.time_till(two) * 1e6) for one, two in pairs)
        return copy_in, compute, copy_out

    def _free(self) -> None:
        self._drop_many()
        if self.graph:
            self.graph.close()
        self.graph, self.launch = None, self._enqueue
        for buffer in (*self._inputs.values(), *self._outputs.values()):
            buffer.free()
        self._inputs.clear()
        self._outputs.clear()

    def close(self) -> None:
        self.drain()
        self._free()
        self._engine.close()
        # release these while their context is current
        self.waits, self.wait = {}, lambda: None
        self._events, self._asleep, self._stream = [], None, None


def _same(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    """Whether outputs are equal up to reordered sums: 1 % of the largest value of each output."""
    import numpy as np

    for name, expected in before.items():
        if expected.dtype.kind in "biu":
            if not np.array_equal(expected, after[name]):
                return False
            continue
        one, other = expected.astype(np.float64), after[name].astype(np.float64)  # also for bfloat16, which NumPy lacks
        finite = one[np.isfinite(one)]
        limit = 0.01 * float(np.abs(finite).max()) if finite.size else 0.0
        if not np.allclose(one, other, rtol=0, atol=limit, equal_nan=True):
            return False
    return True
