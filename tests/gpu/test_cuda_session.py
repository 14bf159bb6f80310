"""Sessions on a real GPU with an engine that only copies: what is tested is everything around the launch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.cuda.gpu import CudaSession
from workbench.errors import RunError
from workbench.protocols import GpuSession, LoadSession
from workbench.records import Region, Wait
from workbench.timing import load

X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Copying:
    """``y`` is ``x``, copied on the device ``times`` times."""

    def __init__(self, stream, times=1):
        from pycuda import driver

        self.driver, self.times, self.at, self.closed = driver, times, {}, False
        self.launches = 0

    def shapes(self, inputs):
        self.bytes = int(np.prod(inputs["x"])) * 4
        return {"x": (inputs["x"], np.dtype("float32")), "y": (inputs["x"], np.dtype("float32"))}

    def bind(self, name, address):
        self.at[name] = address

    def enqueue(self, stream):
        self.launches += 1
        for _ in range(self.times):
            self.copy(stream)

    def copy(self, stream):
        from cuda.bindings import runtime

        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        (status,) = runtime.cudaMemcpyAsync(self.at["y"], self.at["x"], self.bytes, kind, stream)
        if status:
            raise RuntimeError(status.name)

    def close(self):
        self.closed = True


class Waiting(Copying):
    """Waits inside its launch, which no capture allows."""

    def enqueue(self, stream):
        from cuda.bindings import runtime

        super().enqueue(stream)
        (status,) = runtime.cudaStreamSynchronize(stream)
        if status:
            raise RuntimeError(status.name)


class Counting(Copying):
    """Writes something else at every launch: a replay repeats what was captured."""

    def copy(self, stream):
        from cuda.bindings import runtime

        runtime.cudaMemsetAsync(self.at["y"], self.launches, self.bytes, stream)


class Refusing(Copying):
    no_graph = "it says so"


def test_it_is_a_gpu_session_and_copies_in_and_out():
    with CudaSession(Copying) as session:
        assert isinstance(session, GpuSession)
        first = session.run({"x": X})["y"]
        second = session.run({"x": X + 1})["y"]
        np.testing.assert_array_equal(first, X)  # the arrays belong to the caller
        np.testing.assert_array_equal(second, X + 1)


@pytest.mark.parametrize("graph", [False, True])
def test_large_inputs_arrive_whole_however_they_lie_in_memory(graph):
    whole = np.random.default_rng(0).standard_normal((2000, 1500)).astype(np.float32)
    with CudaSession(Copying, graph=graph) as session:
        for x in (whole, whole[::-1], whole.T, whole + 1):
            np.testing.assert_array_equal(session.run({"x": x})["y"], x)


def test_another_shape_gets_other_buffers():
    with CudaSession(Copying, graph=True) as session:
        for shape in ((3, 4), (7, 5), (3, 4), (0, 4), (1, 1)):
            x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            np.testing.assert_array_equal(session.run({"x": x})["y"], x)


def test_another_dtype_is_refused_before_its_bytes_are_misread():
    with CudaSession(Copying) as session, pytest.raises(RunError, match="'x' is float64, but the engine takes float32"):
        session.run({"x": X.astype(np.float64)})


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("wait", list(Wait))
@pytest.mark.parametrize("region", list(Region))
def test_only_the_device_region_returns_a_time(region, wait, graph):
    with CudaSession(lambda stream: Copying(stream, 50), graph=graph) as session:
        call = session.timed({"x": X}, region, wait=wait)
        found = [call() for _ in range(20)]
        if region == Region.DEVICE:
            assert min(found) > 1000
            with_copies = session.timed({"x": X}, region, wait=wait, copies=True)
            assert min(with_copies() for _ in range(5)) > 1000
        else:
            assert set(found) == {None}
        facts = session.facts()
        assert facts.graph == graph
        assert facts.graph_note == ""
        assert facts.device.startswith("cuda:0, NVIDIA")
        assert len(facts.copy_in_ns) == len(facts.compute_ns) == len(facts.copy_out_ns) >= 10
        assert min(facts.compute_ns) > 0
        assert facts.memory_bytes > 0


def test_short_captured_runs_are_timed_many_at_a_time():
    """Two events around one short launch measure more than its work; a long run is timed by itself."""
    with CudaSession(lambda stream: Copying(stream, 3), graph=True) as session:
        single = session.timed({"x": X}, Region.DEVICE, together=False)
        alone = np.median([single() for _ in range(50)])
        assert session.facts().runs == 1
        many = session.timed({"x": X}, Region.DEVICE)
        assert session.facts().runs > 1
        assert np.median([many() for _ in range(50)]) < alone
        np.testing.assert_array_equal(session.run({"x": X + 3})["y"], X + 3)
    with CudaSession(lambda stream: Copying(stream, 3)) as session:
        session.timed({"x": X}, Region.DEVICE)
        assert session.facts().runs == 1  # without a graph the host may be the slower one


def test_more_work_takes_the_device_longer():
    medians = []
    for times in (10, 200):
        with CudaSession(lambda stream, times=times: Copying(stream, times)) as session:
            call = session.timed({"x": X}, Region.DEVICE)
            medians.append(np.median([call() for _ in range(50)]))
    assert medians[1] > 5 * medians[0]


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Waiting, "could not be captured"),
        (Counting, "the outputs of a replay differ"),
        (Refusing, "it says so"),
    ],
)
def test_a_graph_that_cannot_be_is_announced_and_the_engine_still_runs(engine, reason):
    with CudaSession(engine, graph=True) as session:
        call = session.timed({"x": X}, Region.COMPUTE)
        call()
        facts = session.facts()
        assert not facts.graph
        assert reason in facts.graph_note
        if engine is not Counting:
            np.testing.assert_array_equal(session.run({"x": X})["y"], X)


@pytest.mark.parametrize("region", [Region.HOST_TO_HOST, Region.COMPUTE])
def test_several_streams_have_an_engine_each_and_share_the_calls(region):
    made = []

    def make(stream):
        made.append(Copying(stream))
        return made[-1]

    with CudaSession(make, streams=4) as session:
        call = session.timed({"x": X}, region)
        session.drain()
        before = [engine.launches for engine in made]
        for _ in range(400):
            call()
        session.drain()
        after = [engine.launches for engine in made]
        assert sum(after) - sum(before) >= 400
        assert all(now > then for now, then in zip(after, before, strict=True))
        session.drain()
        assert [engine.launches for engine in made] == after  # nothing is in flight any more
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)
        assert len(session.facts().compute_ns) >= 10
        with pytest.raises(RunError, match="Choose one stream"):
            session.timed({"x": X}, Region.DEVICE)
    assert all(engine.closed for engine in made)


@pytest.mark.parametrize("graph", [False, True])
def test_callers_have_a_stream_each_and_get_their_own_answers_at_once(graph):
    with CudaSession(Copying, streams=3, graph=graph) as session:
        assert isinstance(session, LoadSession)
        callers = session.callers(3).each

        def asking(place):
            def call():
                np.testing.assert_array_equal(callers[place].run({"x": X + place})["y"], X + place)

            return call

        calls = [asking(place) for place in range(3)]
        for call in calls:
            call()
        assert load.closed_block(callers, calls, 0.1).calls > 30
        found = load.open_stretch(callers, calls, load.arrivals(500, 50, 0), 10**9, 50, skipped=5)
        assert len(found.latencies_ns) == 45
        staged = [caller.stage({"x": X}) for caller in callers]
        assert load.closed_block(callers, staged, 0.05).calls > 30
        with pytest.raises(RunError, match="the engine was opened with 3 streams"):
            session.callers(4)
        np.testing.assert_array_equal(session.run({"x": X})["y"], X)


def test_the_gpu_tells_its_clocks():
    with CudaSession(Copying) as session:
        state = session.state()
    assert state is not None
    assert 100 < state.sm_mhz < 4000
    assert state.memory_mhz > 100
    assert 0 < state.temperature_c < 110
    assert state.power_w > 1


def test_the_context_is_the_primary_one_and_left_at_the_end():
    from pycuda import driver

    with CudaSession(Copying) as session:
        assert driver.Context.get_device() == driver.Device(0)
        session.run({"x": X})
    with pytest.raises(driver.LogicError):
        driver.Context.get_device()


def test_an_engine_that_cannot_be_made_leaves_no_context_behind():
    from pycuda import driver

    def broken(stream):
        raise RunError("no engine")

    with pytest.raises(RunError, match="no engine"):
        CudaSession(broken)
    with pytest.raises(driver.LogicError):
        driver.Context.get_device()


def test_autoinit_is_refused():
    code = (
        "import pycuda.autoinit\nfrom workbench.cuda.gpu import CudaSession\nfrom workbench.errors import RunError\n"
        "try:\n    CudaSession(lambda stream: None)\nexcept RunError as error:\n    print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Remove that import; the workbench uses the device's primary context." in done.stdout


def test_a_process_ends_well_after_a_session():
    code = "from test_cuda_session import X, CudaSession, Copying\nwith CudaSession(Copying) as s:\n    s.run({'x': X})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert (done.returncode, done.stderr) == (0, "")
