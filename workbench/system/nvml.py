"""GPU state by NVIDIA's NVML: clocks, power, temperature, and the memory of each process.

Uses the package ``nvidia-ml-py`` if it is installed; measurements do not depend on it. NVML creates no CUDA context.
"""

from __future__ import annotations

import os
from typing import Any

from workbench.records import GpuState

# Bits of NVML's clocks event reasons that mean that the clocks are reduced. An idle GPU, clocks that an administrator set and
# clocks that follow another GPU's (0x1, 0x2, 0x10, 0x100) are not among them. Source: nvml.h, nvmlClocksEventReasons.
REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


class Gpu:
    """One GPU, read through NVML."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def state(self) -> GpuState | None:
        """Its state now; ``None``: the driver does not report it."""
        nvml, handle = self._nvml, self._handle
        try:
            return GpuState(
                sm_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
                memory_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
                power_w=nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
                temperature_c=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
                throttled=reasons(self._reasons()),
            )
        except nvml.NVMLError:
            return None

    def memory_of(self, process: int) -> int | None:
        """Bytes of device memory that a process uses, with its CUDA context; ``None``: not available."""
        running = self._read("nvmlDeviceGetComputeRunningProcesses") or ()
        held = [each.usedGpuMemory for each in running if each.pid == process]
        return int(held[0]) if held and held[0] else None

    def energy(self) -> BoardEnergy | None:
        """The board's energy counter; ``None``: it has none (added in the Volta generation)."""
        counter = BoardEnergy(self._nvml, self._handle)
        return counter if counter.read() is not None else None

    def name(self) -> str:
        """The board's name; empty: not available."""
        return str(self._read("nvmlDeviceGetName") or "")

    def processes(self) -> list[int] | None:
        """The other processes that have a CUDA context on it; ``None``: not available."""
        running = self._read("nvmlDeviceGetComputeRunningProcesses")
        return None if running is None else [int(each.pid) for each in running if each.pid != os.getpid()]

    def persistent(self) -> bool | None:
        """Whether persistence mode is on; ``None``: not available."""
        found = self._read("nvmlDeviceGetPersistenceMode")
        return None if found is None else bool(found)

    def _read(self, function: str) -> Any:
        """What a function of NVML returns for this GPU; ``None``: not available."""
        try:
            return getattr(self._nvml, function)(self._handle)
        except self._nvml.NVMLError:
            return None

    def _reasons(self) -> int:
        # renamed in the driver's release 535; the older name stays in older packages
        ask = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        return int((ask or self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(self._handle))


class BoardEnergy:
    """Energy of a whole GPU board since its driver was loaded: a :class:`workbench.system.energy.EnergyCounter` in millijoules.

    NVML updates its reading every 20 to 100 ms, depending on the board; the longest is assumed. Source: Yang,
    Adamek and Armour, "Part-time Power Measurements: nvidia-smi's Lack of Attention" (2024).
    """

    source = "NVML, the whole board"
    period_s = 0.1

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def read(self) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None

    def joules(self, before: int, after: int) -> float:
        """Joules between two readings; 64 bits of millijoules do not wrap around."""
        return (after - before) * 1e-3


def gpu(bus_id: str) -> Gpu | None:
    """The GPU at a PCI address such as ``0000:3b:00.0``; ``None``: the package or the driver is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(bus_id))
    except Exception:  # the package is not installed, or it does not find the driver
        return None


def all_gpus() -> list[Gpu]:
    """Every GPU that the driver knows; empty if the package or the driver is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [Gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
    except Exception:  # the package is not installed, or it does not find the driver
        return []


def reasons(bits: int) -> tuple[str, ...]:
    """The names of the set bits that mean throttling."""
    return tuple(text for bit, text in REASONS.items() if bits & bit)
