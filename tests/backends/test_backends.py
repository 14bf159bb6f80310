"""Runs the contract suite, and what is particular to one backend."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from contract import *  # noqa: F403 - the suite is collected here
from contract import Kit

from workbench import backends
from workbench.data.dataset import dataset
from workbench.data.samples import Samples
from workbench.errors import BuildError, InputError, PrecisionError
from workbench.precision.rewrite import judge
from workbench.protocols import Source
from workbench.records import Precision, RealizedPrecision, to_json
from workbench.runs.engines import Means, PreparedModel, build
from workbench.runs.executor import Executor
from workbench.runs.reading import read_model
from workbench.store import Store, key_of
from workbench.workers.pool import Pool


@pytest.fixture(scope="module")
def kit(store_root, demo_folder):
    store = Store(store_root).prepare()
    with Pool(store.log_path, threading.Event()) as pool:
        model = read_model(store, pool, str(demo_folder / "demo.keras"))
        data = dataset("digits", model, 64, 0, demo=True)
        executor = Executor.of(Means(store, pool, lambda _: None), model, data, 64)
        made = Kit(store, pool, model, data, executor)
        yield made
        for fork_server in made.nurseries.values():
            fork_server.close()


@dataclass
class Expected:
    samples: Samples
    outputs: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def expected(kit, demo_folder, tmp_path_factory):
    """The source model's answers, from Keras itself in a process of its own."""
    samples = kit.data.test.take(slice(0, 30))
    folder = tmp_path_factory.mktemp("expected")
    np.save(folder / "x.npy", samples.inputs["image"])
    code = (
        "import sys, numpy as np, keras; m = keras.models.load_model(sys.argv[1]);"
        "np.save(sys.argv[3], m(np.load(sys.argv[2])).numpy())"
    )
    paths = [demo_folder / "demo.keras", folder / "x.npy", folder / "y.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, capture_output=True)
    return Expected(samples, {"output_0": np.load(folder / "y.npy")})


def test_the_folder_is_the_registry():
    folders = {path.parent.name for path in Path(backends.__file__).parent.glob("*/backend.py")}
    assert set(backends.own()) == folders
    assert {*backends.names(), *backends.broken()} >= folders
    assert backends.names()[0] == "tensorflow"  # the baseline
    assert "tensorflow:xla" in backends.addresses()


def test_backends_that_serve_several_callers_keep_doing_so():
    """The contract allows a session for one caller; these libraries allow more."""
    from workbench.backends.litert.session import LiteRtSession
    from workbench.backends.onnxruntime.session import OnnxRuntimeSession
    from workbench.backends.openvino.backend import OpenVinoSession
    from workbench.backends.tensorflow.backend import FunctionSession

    for session in (LiteRtSession, OnnxRuntimeSession, OpenVinoSession, FunctionSession):
        assert callable(session.callers)


def test_an_unknown_backend_lists_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # a developer's own environments have addresses as well
    with pytest.raises(InputError) as caught:
        backends.check("tensorrrt")
    assert str(caught.value) == (
        "Unknown backend 'tensorrrt': it is not part of the workbench, and no installed package provides it. "
        f"Choose from: {', '.join(backends.addresses())}."
    )
    with pytest.raises(InputError, match=r"^The backend 'tensorflow' has no mode 'xlb'\. Choose from: tensorflow, "):
        backends.check("tensorflow:xlb")


def test_status_imports_no_engine_library():
    code = """
import sys
from workbench import backends
for address in backends.addresses():
    name, _, mode = address.partition(":")
    backends.get(name).status(mode)
print([m for m in ("tensorflow", "ai_edge_litert", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "onnx", "numpy", "pycuda", "pynvml", "cuda") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fp16_on_onnx_runtime_is_caught_as_fp32(kit):
    """Its CPU kernels compute FP16 files in FP32. Asked to build one all the same, the row must fail."""
    spec = kit.spec("onnxruntime", Precision.FP16)
    form = kit.executor.prepared("onnx:fp16")
    with pytest.raises(PrecisionError, match="fp32"):
        build(kit.executor.means, spec, key_of(test=form.key, spec=to_json(spec)), form)


def test_bf16_that_was_not_requested_would_be_caught():
    assert judge(Precision.FP32, RealizedPrecision({"bf16": 6}, "test"))
    assert judge(Precision.FP32, RealizedPrecision({"fp32": 6}, "test")) == ""


STAGED = """
import json, sys
from pathlib import Path
import numpy as np
from workbench import backends
from workbench.records import EngineRecord, from_json
record = from_json(EngineRecord, json.loads(sys.argv[2]))
shape = (64, 28, 28, 1)
with backends.get("openvino").open(Path(sys.argv[1]), record) as session:
    expected = session.run({"image": np.full(shape, 0.25, "float32")})["output_0"].copy()
    call = session.stage({"image": np.full(shape, 0.25, "float32")})
    junk = [np.full(shape, 1e30, "float32") for _ in range(50)]  # takes memory that is not in use any more
    call()
    print(np.array_equal(session._request.get_output_tensor(0).data, expected))
"""


def test_openvino_keeps_what_was_staged(kit):
    """Its request borrows the array's memory; the caller's array is gone by the time of the timed calls."""
    engine = kit.runnable(kit.spec("openvino", Precision.FP32))
    arguments = [str(kit.store.path("engine", engine.key)), json.dumps(to_json(engine))]
    done = subprocess.run([sys.executable, "-c", STAGED, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


AT_ONCE = """
import json, sys, threading
from dataclasses import replace
from pathlib import Path
import numpy as np
from workbench import backends
from workbench.records import EngineRecord, from_json
record = from_json(EngineRecord, json.loads(sys.argv[2]))
record = replace(record, spec=replace(record.spec, streams=3))
images = np.load(sys.argv[3])
with backends.get(record.spec.backend).open(Path(sys.argv[1]), record) as session:
    alone, together = [], []
    for i in range(24):  # sizes take turns, and what was answered stays as it was
        alone.append(session.run({"image": images[i : i + 1]})["output_0"])
        together += [session.run({"image": images[i : i + 4]})["output_0"]] if i % 4 == 0 else []
    apart = [float(np.abs(np.concatenate(alone) - np.concatenate(together)).max())]
    crew = session.callers(3).each
    for caller in crew:
        caller.run({"image": images[:1]})

    def work(place):
        for _ in range(4):
            for i in range(place, 24, 3):
                apart.append(float(np.abs(crew[place].run({"image": images[i : i + 1]})["output_0"] - alone[i]).max()))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    staged = [caller.stage({"image": images[:4]}) for caller in crew]
    threads = [threading.Thread(target=call) for call in staged]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(json.dumps([len(apart), max(apart)]))
"""


@pytest.mark.parametrize("address", ["tensorflow", "litert", "onnxruntime", "openvino"])
def test_callers_at_once_get_the_answers_to_their_own_questions(kit, tmp_path, address):
    engine = kit.runnable(kit.spec(address, Precision.FP32))
    np.save(tmp_path / "images.npy", kit.data.test.take(slice(0, 24)).inputs["image"])
    arguments = [str(kit.store.path("engine", engine.key)), json.dumps(to_json(engine)), str(tmp_path / "images.npy")]
    done = subprocess.run([sys.executable, "-c", AT_ONCE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers, apart = json.loads(done.stdout.splitlines()[-1])
    assert answers == 1 + 4 * 24
    assert apart < 1e-5


def test_layers_inside_a_loop_count_for_onnx_runtime(tmp_path):
    """A recurrent layer becomes a loop; an engine whose loop stayed FP32 must not be called INT8 throughout."""
    from onnx import TensorProto, helper, numpy_helper

    from workbench.precision.read_back import formats_of

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inner = [
        value("i", TensorProto.INT64, []),
        value("go", TensorProto.BOOL, []),
        value("h", TensorProto.FLOAT, [1, 4]),
    ]
    outer = [value("same", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1, 4])]
    steps = [helper.make_node("MatMul", ["h", "w"], ["next"]), helper.make_node("Identity", ["go"], ["same"])]
    loop = helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=helper.make_graph(steps, "body", inner, outer))
    constants = {"w": np.eye(4, dtype="f4"), "n": np.int64(3), "yes": np.bool_(True)}
    graph = helper.make_graph(
        [loop],
        "recurrent",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    (tmp_path / "loop.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    assert formats_of(tmp_path / "loop.onnx", "node types").layers == {"fp32": 1}


def test_a_mixed_engine_is_called_mixed():
    assert RealizedPrecision({"int8": 5, "fp32": 1}, "test").label == "int8 5/6"
    assert RealizedPrecision({"int8": 2, "fp32": 2}, "test").label == "fp32 2/4 + int8 2/4"
    assert RealizedPrecision({"int8": 2}, "test").label == "int8"
    assert RealizedPrecision({}, "test").label == "unknown"


def test_tensorrt_names_the_node_it_refuses(kit):
    """The INT8 form for CPU kernels has unsigned, shifted activations, which TensorRT does not take."""
    spec = kit.spec("tensorrt:rtx", Precision.INT8)
    kit.need(spec)
    form = kit.executor.prepared("onnx:int8-u8", method=spec.calibration)
    with pytest.raises(BuildError, match=r"TensorRT's parser refused the ONNX file: \w+ '.+'"):
        build(kit.executor.means, spec, key_of(test=form.key, spec=to_json(spec)), form)


def test_tensorrt_reports_its_phases(kit):
    spec = replace(kit.spec("tensorrt:rtx", Precision.FP32), workspace_bytes=64 << 20, optimization_level=1)
    kit.need(spec)
    phases = []
    means = kit.executor.means._replace(say=phases.append)
    build(means, spec, key_of(phases=to_json(spec)), kit.executor.prepared("onnx:fp32"))
    assert any("parse ONNX" in phase for phase in phases)
    assert len(phases) > 3


def test_junk_that_a_parser_takes_for_a_model_is_refused(kit, tmp_path):
    spec = kit.spec("tensorrt:rtx", Precision.FP32)
    kit.need(spec)
    (tmp_path / "model.onnx").write_bytes(b"")
    form = PreparedModel("junk", Source(tmp_path / "model.onnx", (), ()))
    with pytest.raises(BuildError, match="parser refused"):
        build(kit.executor.means, spec, key_of(test=form.key, spec=to_json(spec)), form)


def test_optimization_levels_beyond_the_library_are_refused(kit):
    for address, level in (("onnxruntime", 4), ("tensorrt:rtx", 6)):
        backend = backends.get(address.partition(":")[0])
        able = backend.supports(kit.spec(address, Precision.FP32, optimization_level=level), kit.model)
        assert not able
        assert "levels are 0 to" in able.reason
