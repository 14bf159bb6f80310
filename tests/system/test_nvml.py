import sys
import types

import pytest

from workbench.system import nvml


class Library(types.ModuleType):
    """Answers of NVML as recorded on an H100, in the names that its package has."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    silent = False

    def nvmlDeviceGetClockInfo(self, handle, which):  # noqa: N802
        if self.silent:
            raise self.NVMLError("Not Supported")
        return {1: 1980, 2: 2619}[which]

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return 312_450

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return 41

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):  # noqa: N802
        return 0x4 | 0x1

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if self.silent:
            raise self.NVMLError("Not Supported")
        return 7_250_500

    def nvmlDeviceGetPersistenceMode(self, handle):  # noqa: N802
        return 1

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return "NVIDIA H100"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if self.silent:
            raise self.NVMLError("No Permission")
        return [
            types.SimpleNamespace(pid=7, usedGpuMemory=606 * 2**20),
            types.SimpleNamespace(pid=8, usedGpuMemory=None),
        ]


def test_a_reading_is_in_the_units_of_the_record():
    state = nvml.Gpu(Library("pynvml"), None).state()
    assert (state.sm_mhz, state.memory_mhz, state.power_w, state.temperature_c) == (1980, 2619, 312.45, 41)
    assert state.throttled == ("power cap",)


def test_memory_is_that_of_the_process_or_unknown():
    gpu = nvml.Gpu(Library("pynvml"), None)
    assert [gpu.memory_of(process) for process in (7, 8, 9)] == [606 * 2**20, None, None]


def test_energy_is_in_joules_and_absent_where_the_board_has_no_counter():
    library = Library("pynvml")
    counter = nvml.Gpu(library, None).energy()
    assert counter.joules(7_250_000, counter.read()) == 0.5
    library.silent = True
    assert counter.read() is None
    assert nvml.Gpu(library, None).energy() is None


def test_the_board_says_who_uses_it():
    gpu = nvml.Gpu(Library("pynvml"), None)
    assert (gpu.name(), gpu.persistent(), gpu.processes()) == ("NVIDIA H100", True, [7, 8])


def test_a_driver_that_does_not_tell_is_not_an_error():
    library = Library("pynvml")
    library.silent = True
    gpu = nvml.Gpu(library, None)
    assert gpu.state() is None
    assert gpu.memory_of(7) is None


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, ()),
        (0x1 | 0x2 | 0x10 | 0x100, ()),  # idle, set by an administrator, following another: nothing holds it down
        (0x4 | 0x40, ("power cap", "heat (hardware)")),
    ],
)
def test_only_what_holds_the_clocks_down_is_throttling(bits, words):
    assert nvml.reasons(bits) == words


def test_without_the_package_there_is_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.gpu("0000:00:06.0") is None
