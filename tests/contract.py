"""The suite that every backend passes, for every mode and precision it says it supports.

``tests/backends/test_backends.py`` collects it. It knows no backend by its name: a new folder in ``workbench/backends`` and a backend of
another package that is installed are found and tested alike. ``pytest tests/backends -k NAME`` tests one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from workbench import backends
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.errors import RunError, WorkbenchError
from workbench.protocols import Backend
from workbench.records import EngineRecord, EngineSpec, Model, Precision, Region, Result, to_json
from workbench.records.layers import WEIGHTS
from workbench.records.methods import METHODS
from workbench.runs.executor import Executor
from workbench.runs.layer_pass import can_profile, profile
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.workers.fork_server import ForkServer
from workbench.workers.pool import Pool
from workbench.workers.worker import NO_GPU, QUIET_ENV, Worker, thread_env

# the demo has five convolutions and one dense layer: what takes matrix products alone is tested in test_methods
# and what differs in how ranges are chosen alone, in test_precision
NAMES = [
    name
    for name, method in METHODS.items()
    if not method.calibration and (not method.weights_only or method.precision == Precision.FP16)
]
CASES = [(address, name) for address in backends.addresses() for name in NAMES]
REGIONS = list(Region)


@dataclass
class Kit:
    """The trained demo and what is needed to build from it."""

    store: Store
    pool: Pool
    model: Model
    data: Dataset
    executor: Executor
    nurseries: dict[str, ForkServer] = field(default_factory=dict)
    """A library that is imported once for many workers, as in a run with many engines of it."""

    def spec(self, address: str, precision: str, **changes) -> EngineSpec:
        # FP32 is held to the source model's own digits, which TF32 cuts off
        settings = {"precisions": str(precision), "batches": "1,4", "calibration_samples": 64, "tf32": False} | changes
        asked = Experiment(backends=address, **settings)
        return asked.variants()[0]

    def need(self, spec: EngineSpec) -> Backend:
        backend = backends.get(spec.backend)
        for able in (backend.status(spec.mode), backend.supports(spec, self.model)):
            if not able:
                pytest.skip(f"{spec.label}: {able.reason}")
        return backend

    def engine(self, spec: EngineSpec) -> EngineRecord:
        return self.executor.engine_of(spec)[0]

    def runnable(self, spec: EngineSpec, region: Region = Region.HOST_TO_HOST) -> EngineRecord:
        able = self.need(spec).measures(spec, region)
        if not able:
            pytest.skip(f"{spec.label}: {able.reason}")
        return self.engine(spec)

    def worker(self, spec: EngineSpec) -> Worker:
        """A process that has imported what engines like this need."""
        modules, env = backends.modules(spec), thread_env(spec.threads)
        fork_server = self.nurseries.get(spec.backend)
        if fork_server is None:
            fork_server = ForkServer(self.store.log_path("fork_server"), modules, QUIET_ENV | NO_GPU | env)
            self.nurseries[spec.backend] = fork_server
            fork_server.wait()
        worker = Worker(self.store.log_path(spec.label), env=env, fork_server=fork_server)
        worker.call("hello", modules=modules)
        return worker

    def open(self, engine: EngineRecord, streams: int = 1) -> Worker:
        worker = self.worker(engine.spec)
        engine = replace(engine, spec=replace(engine.spec, streams=max(streams, engine.spec.streams)))
        worker.call("open_engine", engine=str(self.store.path("engine", engine.key)), record=to_json(engine))
        return worker

    def outputs(self, worker: Worker, samples: Samples, batch: int, folder: Path) -> dict[str, np.ndarray]:
        into = folder / f"outputs-{batch}.npz"
        worker.call("evaluate", samples=str(self.executor.samples_file(samples)), batch=batch, into=str(into))
        with np.load(into) as file:
            return {name: file[name] for name in file.files}


@pytest.mark.parametrize("name", backends.names())
def test_it_describes_itself(name):
    backend = backends.get(name)
    assert isinstance(backend, Backend)
    assert backend.name == name
    assert backend.title
    assert "" in backend.modes
    assert all(backend.modes.values())
    state = backend.status()
    assert state.ok or (state.reason and state.fix)
    known = {
        "threads", "optimization_level", "workspace", "batches", "tf32", "cuda_graph", "streams", "build_options",
    }  # fmt: skip
    assert set(backend.settings) <= known
    # every setting that the panel shows is either used or greyed out with a reason
    assert known - {"batches"} == (set(backend.settings) | set(backend.without)) - {"batches"}
    assert not set(backend.settings) & set(backend.without)
    assert set(backend.devices) <= set(backend.modes)
    for mode in backend.modes:
        state = backend.status(mode)
        assert state.ok or (state.reason and state.fix)


@pytest.mark.parametrize(("address", "precision"), CASES)
def test_a_refusal_says_why(kit, address, precision):
    spec = kit.spec(address, precision)
    backend = backends.get(spec.backend)
    regions = (backend.measures(spec, region) for region in REGIONS)
    for able in (backend.status(spec.mode), backend.supports(spec, kit.model), *regions):
        assert able.ok or len(able.reason) > 10


@pytest.mark.parametrize(("address", "precision"), CASES)
def test_what_was_asked_for_was_built(kit, address, precision):
    spec = kit.spec(address, precision)
    kit.need(spec)
    engine = kit.engine(spec)
    layers = engine.realized.layers
    assert sum(layers.values()) == 6  # the demo has five convolutions and one dense layer
    # the dense layer and the first convolution are below the size from which some libraries quantize dynamically
    small = precision == "int8-dynamic"
    assert layers.get(METHODS[precision].realized, 0) >= (4 if small else 5)
    assert engine.realized.basis
    assert engine.library_version
    assert engine.size_bytes > 10_000
    assert engine.build_s > 0
    assert kit.engine(spec).built_at == engine.built_at  # found, not built again


@pytest.mark.parametrize(("address", "precision"), CASES)
def test_answers_are_the_source_models(kit, expected, tmp_path, address, precision):
    engine = kit.runnable(kit.spec(address, precision))
    with kit.open(engine) as worker:
        outputs = {batch: kit.outputs(worker, expected.samples, batch, tmp_path) for batch in (1, 4, 7)}
        reported = {each["name"]: each["value"] for each in worker.call("in_effect")}
    assert reported.get("threads", "1") == "1"
    assert reported.get("denormals", "flushed to zero") == "flushed to zero"  # the same in every engine that tells
    assert list(outputs[1]) == [spec.name for spec in kit.model.outputs]
    ours, theirs = outputs[1]["output_0"], expected.outputs["output_0"]
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    # 30 samples: not a multiple of 4 or 7, so the last batch is filled up and cut again
    for batch in (4, 7):
        np.testing.assert_allclose(outputs[batch]["output_0"], ours, atol=1e-5 if precision == Precision.FP32 else 0.15)
    apart = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1, "int8": 0.4, "fp8": 0.4}[METHODS[precision].precision]
    np.testing.assert_allclose(ours, theirs, atol=apart)
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.9


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("address", backends.addresses())
def test_it_is_timed_over_every_region_within_its_threads(kit, address, region):
    engine = kit.runnable(kit.spec(address, Precision.FP32), region)
    with kit.open(engine, streams=1 if region == Region.DEVICE else 2) as worker:
        samples = str(kit.executor.samples_file(kit.data.test))
        warm = worker.call("prepare_timing", samples=samples, batch=4, region=region, warm_up_s=0.1)
        block = worker.call("block", seconds=0.3)
        if region != Region.DEVICE:
            several_callers(worker, samples, region)
    assert len(warm["warm_up_ns"]) >= 2
    assert len(block["samples_ns"]) >= 1
    assert min(block["samples_ns"]) > 1000
    assert block["cpu_s"] <= 1.15 * block["wall_s"]  # one thread was asked for


def several_callers(worker: Worker, samples: str, region: Region) -> None:
    """Two callers at once are served, or a sentence says that the engine is for one; it answers one alone afterwards."""
    asked = {"samples": samples, "batch": 4, "region": region, "warm_up_s": 0.02}
    try:
        served = worker.call("prepare_load", concurrency=2, **asked)
    except RunError as error:  # its session is not a LoadSession
        assert error.message == "This engine serves one caller at a time; 2 callers were requested."  # noqa: PT017
        served = worker.call("prepare_load", concurrency=2, fewer=True, **asked)
        assert served["callers"] == 1
    else:
        assert served["callers"] == 2
    block = worker.call("load_block", seconds=0.02)
    assert block["calls"] > 0
    assert min(block["latencies_ns"]) > 1000
    assert len(worker.call("block", seconds=0.01)["samples_ns"]) >= 1


@pytest.mark.parametrize("address", backends.addresses())
def test_its_clocks_take_turns_and_leave_its_answers_as_they_were(kit, expected, tmp_path, address):
    spec = kit.spec(address, Precision.FP32)
    engine = kit.runnable(spec)
    compute = backends.get(spec.backend).measures(spec, Region.COMPUTE).ok
    with kit.open(engine) as worker:
        samples = str(kit.executor.samples_file(kit.data.test))
        how = {"compute": compute, "rounds": 2, "block_s": 0.005, "seed": 0}
        clocks = {batch: worker.call("clocks", samples=samples, batch=batch, **how) for batch in (4, 2)}
        outputs = kit.outputs(worker, expected.samples, 7, tmp_path)
    for found in clocks.values():
        names = [clock["name"] for clock in found]
        assert names[0] == "host-to-host"
        assert ("compute" in names) == compute
        assert all(len(clock["rounds_ns"]) == 2 and min(map(min, clock["rounds_ns"])) > 1000 for clock in found)
    np.testing.assert_allclose(outputs["output_0"], expected.outputs["output_0"], atol=1e-5)


@pytest.mark.parametrize("address", backends.addresses())
def test_its_layers_are_timed_or_it_says_why_not(kit, address):
    engine = kit.runnable(kit.spec(address, Precision.FP32))
    row = Result(spec=engine.spec, batch=4, engine=engine)
    able = can_profile(row)
    if not able:
        assert len(able.reason) > 10
        return
    # a busy machine adds to whole calls, and little to their layers: of more calls one is undisturbed
    for seconds in (0.1, 0.5, 2.0):
        found = profile(row, kit.store, seconds=seconds, say=lambda _: None)
        share = sum(min(layer.times_ns) for layer in found.layers) / min(found.profiled_ns)
        if 0.1 < share < 1.5:
            break
    assert 0.1 < share < 1.5
    weighted = [layer for layer in found.layers if layer.kind == WEIGHTS]
    assert len(weighted) == 6  # the demo has five convolutions and one dense layer
    assert all(layer.scope.startswith(("conv2d", "digit")) for layer in weighted)
    assert all(len(layer.times_ns) == len(found.profiled_ns) >= 3 for layer in found.layers)
    assert found.basis


@pytest.mark.parametrize("address", backends.addresses())
def test_a_fixed_batch_is_built_and_runs(kit, expected, tmp_path, address):
    spec = kit.spec(address, Precision.FP32, shapes="fixed")
    spec = EngineSpec(**{**spec.__dict__, "batch": 4, "batches": (4,)})
    engine = kit.runnable(spec)
    with kit.open(engine) as worker:
        outputs = kit.outputs(worker, expected.samples, 4, tmp_path)
    np.testing.assert_allclose(outputs["output_0"], expected.outputs["output_0"], atol=1e-5)


@pytest.mark.parametrize("address", backends.addresses())
def test_a_damaged_engine_is_one_sentence(kit, tmp_path, address):
    engine = kit.runnable(kit.spec(address, Precision.FP32))
    for source in kit.store.path("engine", engine.key).rglob("*"):
        if source.is_file():
            target = tmp_path / source.relative_to(kit.store.path("engine", engine.key))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes()[:100])
    with kit.worker(engine.spec) as worker, pytest.raises(WorkbenchError) as caught:
        worker.call("open_engine", engine=str(tmp_path), record=to_json(engine))
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)
