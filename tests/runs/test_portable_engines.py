"""Engines from another machine: two stores, one of which builds. The store's side is real; what stands in for TensorRT is one
process that "builds", and one module that "opens".
"""

import json
import shutil
from dataclasses import replace

import pytest
import small_onnx

from workbench.backends.tensorrt import backend as tensorrt
from workbench.backends.tensorrt import engine as trt_engine
from workbench.backends.tensorrt.flavours import FULL, LEAN
from workbench.backends.tensorrt.inspector import Inspection, load
from workbench.errors import BuildError, RunError
from workbench.plan import subject
from workbench.plan.engines import engine_key
from workbench.protocols import Built
from workbench.records import EngineSpec, Precision, RealizedPrecision, to_json
from workbench.runs import portable_engines
from workbench.runs.engines import Means, PreparedModel
from workbench.runs.engines import build as build_engine
from workbench.store import MANIFEST, Store
from workbench.system.machine import this_machine

LEAN_SPEC = EngineSpec("tensorrt", Precision.FP32, "lean", batches=(1, 4, 8))
FULL_SPEC = replace(LEAN_SPEC, mode="", build_options=("version-compatible",), batches=(1, 8), threads=2)
THEIRS, OURS = "NVIDIA A10, driver 550.1", "NVIDIA A10, driver 580.2"


class Builder:
    """Stands for the process on the other machine that builds with the full library."""

    calls = 0

    def call(self, _, task, *, into, progress, **asked):
        assert task == "build"
        self.calls += 1
        from pathlib import Path

        (Path(into) / tensorrt.FILE).write_bytes(b"a plan that holds its runtime")
        Inspection(()).save(Path(into))
        return {**to_json(Built("TensorRT", "11.3.0.99", RealizedPrecision({"fp32": 1}, "inspector"))), "build_s": 9.0}


class NoWorkers:
    """There is no process that could build here."""

    def call(self, *_, **__):
        raise AssertionError


@pytest.fixture
def on(monkeypatch):
    """Be on the machine with these libraries and this GPU."""

    def be(*flavours, gpu, lean="11.4.0.106"):
        names = {one.module for one in flavours}
        monkeypatch.setattr("workbench.backends.tensorrt.flavours.is_package", lambda name: name in names)
        monkeypatch.setattr(
            "workbench.backends.tensorrt.flavours.version_of", lambda *names: lean if "tensorrt-lean" in names else ""
        )
        found = replace(this_machine(), gpu=gpu)
        for module in (tensorrt, portable_engines, subject, trt_engine):
            monkeypatch.setattr(module, "this_machine", lambda: found)
        monkeypatch.setattr(tensorrt.cuda, "this_machine", lambda: found)
        monkeypatch.setattr(tensorrt.cuda, "find_spec", lambda _: object())

    return be


def form(store, width=8):
    """The model as a prepared file in a store, by the same key on every machine."""
    with store.create("onnx", f"key{width}") as draft:
        small_onnx.convolution(draft.folder / "model.onnx")
        (draft.folder / "weights").write_bytes(b"w" * width)
        draft.facts = {}
    source = small_onnx.convolution(store.path("onnx", f"key{width}") / "again.onnx")
    return PreparedModel(f"key{width}", replace(source, path=store.path("onnx", f"key{width}") / "model.onnx"))


def build(spec, store, pool, **model):
    source = form(store, **model)
    key = engine_key(source.key, spec, subject.Platform.here())
    return build_engine(Means(store, pool, lambda _: None), spec, key, source)


@pytest.fixture
def stores(tmp_path, on):
    """The store of a machine that has built, and that of one that cannot build, with the two folders copied over."""
    theirs, ours = Store(tmp_path / "theirs").prepare(), Store(tmp_path / "ours").prepare()
    on(FULL, gpu=THEIRS)
    build(FULL_SPEC, theirs, Builder())
    for folder in ("engine", portable_engines.KIND):
        shutil.copytree(theirs.root / folder, ours.root / folder)
    on(LEAN, gpu=OURS)
    return theirs, ours


def test_what_was_built_elsewhere_is_found_and_becomes_an_engine_of_this_store(stores):
    _, ours = stores
    record, reused = build(LEAN_SPEC, ours, NoWorkers())
    assert not reused
    assert record.spec == LEAN_SPEC
    assert (record.library_version, record.build_s, record.runnable) == ("11.3.0.99", 9.0, True)
    assert record.note == f"built by TensorRT 11.3.0.99 on {THEIRS}, and carried over"
    folder = ours.find("engine", record.key)
    assert (folder / tensorrt.FILE).read_bytes() == b"a plan that holds its runtime"
    assert load(folder) == Inspection(())
    assert build(LEAN_SPEC, ours, NoWorkers()) == (record, True)


def test_the_note_stays_that_of_the_machine_that_built(stores):
    _, ours = stores
    build(LEAN_SPEC, ours, NoWorkers())
    (note,) = (ours.root / portable_engines.KIND).iterdir()
    assert ours.facts(portable_engines.KIND, note.name)["gpu"] == THEIRS


def test_a_file_that_changes_while_it_is_read_is_refused(stores, monkeypatch):
    def copied(source, target):
        target.write_bytes(source.read_bytes() + b"!")

    monkeypatch.setattr(portable_engines.shutil, "copyfile", copied)
    with pytest.raises(BuildError, match="changed while it was read"):
        build(LEAN_SPEC, stores[1], NoWorkers())


def test_it_is_opened_with_its_code_allowed(stores, monkeypatch):
    _, ours = stores
    record, _ = build(LEAN_SPEC, ours, NoWorkers())

    class Lean:
        """The module ``tensorrt_lean`` as far as it gets: it refuses what it was given."""

        class Runtime:
            def __init__(self, log):
                self.engine_host_code_allowed = False

            def deserialize_cuda_engine(self, plan):
                opened.append((plan, self.engine_host_code_allowed))

    class Log:
        def errors(self):
            return []

        def text(self):
            return ""

    opened = []
    monkeypatch.setattr(trt_engine, "library", lambda flavour: (Lean, Log()) if flavour == LEAN else None)
    monkeypatch.setattr(tensorrt.cuda, "CudaSession", lambda make, **_: make(0))
    with pytest.raises(RunError, match="TensorRT lean runtime could not open the engine"):
        tensorrt.BACKEND.open(ours.path("engine", record.key), record)
    assert opened == [(b"a plan that holds its runtime", True)]


ABSENT = (
    "TensorRT lean runtime opens engines and builds none, TensorRT, which builds them, is not installed here, and no engine "
    "from this very model is in the store {root}. Build one elsewhere (on a GPU of this kind with TensorRT up to 11.4.0.106: "
    "report --backends tensorrt --precisions fp32 --batches 1,4,8 --build-options version-compatible with the same model), and "
    "copy the folders 'engine' and 'portable' of its store into this one."
)


def test_without_one_it_is_said_what_to_build_and_where(tmp_path, on):
    on(LEAN, gpu=OURS)
    store = Store(tmp_path / "store").prepare()
    with pytest.raises(BuildError) as caught:
        build(LEAN_SPEC, store, NoWorkers())
    assert str(caught.value) == ABSENT.format(root=store.root)
    changes = {"batch": 4, "batches": (4,), "tf32": False, "optimization_level": 2, "workspace_bytes": 2**20}
    with pytest.raises(
        BuildError, match="--shapes fixed --tf32 false --optimization-level 2 --workspace-mib 1 with the same model"
    ):
        build(replace(LEAN_SPEC, **changes), store, NoWorkers())


@pytest.mark.parametrize(
    "changes",
    [{"batches": (1, 16)}, {"precision": Precision.FP16}, {"tf32": False}, {"optimization_level": 1},
     {"build_options": ("hardware-compatible",)}, {"workspace_bytes": 2**20}, {"batch": 8}],
)  # fmt: skip
def test_other_settings_are_another_engine(stores, changes):
    with pytest.raises(BuildError, match="no engine from this very model"):
        build(replace(LEAN_SPEC, **changes), stores[1], NoWorkers())


def test_another_model_is_another_engine_even_by_the_weights_beside_it(stores):
    with pytest.raises(BuildError, match="no engine from this very model"):
        build(LEAN_SPEC, stores[1], NoWorkers(), width=9)


@pytest.mark.parametrize("harm", ["content", "manifest", "note"])
def test_what_the_other_store_did_not_write_is_not_opened(stores, harm):
    _, ours = stores
    (engine,) = (ours.root / "engine").iterdir()
    if harm == "content":
        (engine / tensorrt.FILE).write_bytes(b"another plan")
    elif harm == "manifest":
        (engine / MANIFEST).unlink()
    else:
        (note,) = (ours.root / portable_engines.KIND).iterdir()
        reported = json.loads((note / MANIFEST).read_text())
        reported["facts"]["engine"] = f"../engine/{engine.name}"
        (note / MANIFEST).write_text(json.dumps(reported))
    with pytest.raises(BuildError, match="no engine from this very model"):
        build(LEAN_SPEC, ours, NoWorkers())


def test_a_manifest_that_names_files_elsewhere_is_refused(stores, tmp_path):
    _, ours = stores
    (engine,) = (ours.root / "engine").iterdir()
    (tmp_path / "secret").write_bytes(b"a plan that holds its runtime")
    manifest = json.loads((engine / MANIFEST).read_text())
    manifest["files"] = {"../../../secret": manifest["files"][tensorrt.FILE]}
    (engine / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BuildError, match="no engine from this very model"):
        build(LEAN_SPEC, ours, NoWorkers())


@pytest.mark.parametrize(
    ("lean", "reason"),
    [
        ("11.2.0.1", "it was built by TensorRT 11.3.0.99, and this runtime is 11.2.0.1, which opens older engines"),
        (
            "13.0.0.1",
            "it was built by TensorRT 11.3.0.99, and this runtime is 13.0.0.1, which opens engines of its own",
        ),
        ("12.0.0.1", ""),
        ("11.3.0.1", ""),
    ],
)
def test_a_runtime_that_would_not_open_it_is_reported_before(stores, on, lean, reason):
    """Version-compatible plans: newer runtimes of the same major version and of the next one (NVIDIA's documentation)."""
    on(LEAN, gpu=OURS, lean=lean)
    if not reason:
        assert build(LEAN_SPEC, stores[1], NoWorkers())[0].runnable
        return
    with pytest.raises(BuildError) as caught:
        build(LEAN_SPEC, stores[1], NoWorkers())
    assert reason in str(caught.value)


def test_another_gpu_is_reported_beside_the_row(stores, on):
    on(LEAN, gpu="NVIDIA L4, driver 580.2")
    note = build(LEAN_SPEC, stores[1], NoWorkers())[0].note
    assert (
        "this GPU is another one (NVIDIA L4, driver 580.2), and an engine is tuned for the one it was built on" in note
    )


def test_where_the_full_library_is_it_builds(stores, on):
    _, ours = stores
    on(FULL, LEAN, gpu=OURS)
    builder = Builder()
    assert build(LEAN_SPEC, ours, builder)[0].note == ""
    assert builder.calls == 1


def test_engines_of_other_backends_leave_no_note(tmp_path):
    store = Store(tmp_path / "store").prepare()
    for spec in (EngineSpec("onnxruntime", Precision.FP32), replace(FULL_SPEC, build_options=())):
        build(spec, store, Builder())
    assert not (store.root / portable_engines.KIND).exists()
