"""Copies to the device, with a driver that copies within the host's memory. A real one is used in ``tests/gpu``."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from workbench.cuda.lane import LARGE_BYTES, Lane


class Memory:
    """Device memory."""

    def __init__(self, size: int) -> None:
        self.content = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return id(self)

    def free(self) -> None:
        pass


class Driver:
    """PyCUDA's driver, as far as copies of a lane use it; ``sources`` are the arrays that were copied to the device."""

    event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)

    def __init__(self) -> None:
        self.sources: list[np.ndarray] = []
        self.Stream = lambda _: SimpleNamespace(handle=1, synchronize=lambda: None)
        self.Event = lambda *_: SimpleNamespace(record=lambda _: None, synchronize=lambda: None)
        self.pagelocked_empty = np.empty
        self.mem_alloc = Memory

    def memcpy_htod_async(self, target: Memory, source: np.ndarray, _stream: object) -> None:
        assert source.flags.c_contiguous
        self.sources.append(source)
        target.content[:] = source.reshape(-1).view(np.uint8)

    def memcpy_dtoh_async(self, target: np.ndarray, source: Memory, _stream: object) -> None:
        target.reshape(-1).view(np.uint8)[:] = source.content


class Nothing:
    """An engine without outputs."""

    def shapes(self, _inputs):
        return {}

    def bind(self, name, address):
        pass

    def enqueue(self, stream):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("rows", [3, LARGE_BYTES // 16, LARGE_BYTES // 4])
@pytest.mark.parametrize("strided", [False, True])
def test_large_inputs_are_not_copied_into_pinned_memory_first(rows: int, strided: bool) -> None:
    driver = Driver()
    lane = Lane(driver, lambda _: Nothing(), graph=False)
    whole = np.arange(rows * 4, dtype=np.float32).reshape(4, rows)
    x = whole.T if strided else np.ascontiguousarray(whole.T)
    lane.prepare({"x": np.zeros_like(np.ascontiguousarray(x))})
    driver.sources.clear()
    lane.round_trip({"x": x})
    buffer = lane._inputs["x"]
    np.testing.assert_array_equal(buffer.device.content.view(np.float32).reshape(x.shape), x)
    assert (driver.sources[0] is buffer.host) == (x.nbytes < LARGE_BYTES)
    lane.close()
