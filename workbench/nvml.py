"""What NVIDIA's driver tells of a GPU through NVML: clocks, power, heat, and who holds how much memory.

Through the package ``nvidia-ml-py``, and only where it is installed: nothing that is measured depends on it. NVML makes no
CUDA context.
"""

from __future__ import annotations

from typing import Any

from workbench.records import GpuState

# Bits of NVML's clocks event reasons that mean the clocks are held down. An idle GPU, clocks that an administrator set and
# clocks that follow another GPU's (0x1, 0x2, 0x10, 0x100) are not among them. Source: nvml.h, nvmlClocksEventReasons.
REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


class Gpu:
    """One GPU as NVML sees it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def state(self) -> GpuState | None:
        """How it is at this moment; ``None`` where the driver does not say."""
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
        """Bytes of device memory that a process holds, its CUDA context included; ``None`` where that is not told."""
        nvml = self._nvml
        try:
            running = nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except nvml.NVMLError:
            return None
        held = [each.usedGpuMemory for each in running if each.pid == process]
        return int(held[0]) if held and held[0] else None

    def _reasons(self) -> int:
        # renamed in the driver's release 535; the older name stays in older packages
        ask = getattr(self._nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        return int((ask or self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(self._handle))


def gpu(bus_id: str) -> Gpu | None:
    """The GPU at a PCI address such as ``0000:3b:00.0``; ``None`` without the package or the driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(bus_id))
    except Exception:  # the package is not there, or it does not find the driver
        return None


def reasons(bits: int) -> tuple[str, ...]:
    """The set bits that mean throttling, in words."""
    return tuple(text for bit, text in REASONS.items() if bits & bit)
