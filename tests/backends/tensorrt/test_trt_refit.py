"""Weights in an earlier engine. Structure and keeping are real; the library's refitter needs a GPU of a generation that its
engines run on, so what it is asked is seen on a stand-in.
"""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import small_onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.backends.tensorrt import backend as tensorrt
from workbench.backends.tensorrt import engine as trt_engine
from workbench.backends.tensorrt import options, refit, timing_cache
from workbench.backends.tensorrt.flavours import RTX, library
from workbench.backends.tensorrt.refit import KeptEngine, refitted, structure
from workbench.errors import BuildError
from workbench.records import EngineSpec, Precision
from workbench.system.machine import this_machine

SPEC = EngineSpec("tensorrt", Precision.FP32, "rtx", batches=(1, 4), build_options=("refit",))


def dense(path, *, seed=0, width=4, scale=1.0, op="Relu", target=(-1, 4)):
    """x · w + b, an activation, a scale and a reshape: weights that may differ, and constants that may not."""
    draw = np.random.default_rng(seed)
    held = [
        numpy_helper.from_array(draw.standard_normal((4, width), dtype=np.float32), "w"),
        numpy_helper.from_array(draw.standard_normal(width, dtype=np.float32), "b"),
        numpy_helper.from_array(np.float32(scale), "scale"),
        numpy_helper.from_array(np.array(target), "target"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], name="dense"),
        helper.make_node(op, ["a"], ["r"], name="activation"),
        helper.make_node("Mul", ["r", "scale"], ["m"], name="scaled"),
        helper.make_node("Reshape", ["m", "target"], ["y"], name="reshaped"),
    ]
    value = ("x", TensorProto.FLOAT, (None, 4))
    return small_onnx.source(
        small_onnx.saved(path, nodes, [value], [("y", TensorProto.FLOAT, (None, None))], held), value
    )


def test_another_training_has_the_same_structure(tmp_path):
    first = structure(dense(tmp_path / "a.onnx").path)
    assert structure(dense(tmp_path / "b.onnx", seed=1).path) == first
    proto = onnx.load(tmp_path / "b.onnx")
    proto.producer_name, proto.doc_string = "another exporter", "of another day"
    onnx.save(proto, tmp_path / "c.onnx")
    assert structure(tmp_path / "c.onnx") == first


@pytest.mark.parametrize("changes", [{"width": 8}, {"scale": 2.0}, {"op": "Tanh"}, {"target": (-1, 2)}])
def test_what_is_not_a_weight_must_be_equal(tmp_path, changes):
    assert structure(dense(tmp_path / "a.onnx").path) != structure(dense(tmp_path / "b.onnx", **changes).path)


def test_a_weight_that_is_used_otherwise_too_must_be_equal(tmp_path):
    """As the scale of a quantization that another node reads."""
    digests = []
    for seed in (0, 1):
        proto = onnx.load(dense(tmp_path / "m.onnx", seed=seed).path)
        proto.graph.node.append(helper.make_node("Identity", ["b"], ["bias_too"]))
        onnx.save(proto, tmp_path / "m.onnx")
        digests.append(structure(tmp_path / "m.onnx"))
    assert digests[0] != digests[1]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine with a GPU that no library can use, and a folder for what is kept."""
    found = replace(this_machine(), gpu="NVIDIA A")
    for module in (tensorrt, timing_cache, refit):
        monkeypatch.setattr(module, "this_machine", lambda: found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_kept_engine_is_found_unless_it_was_changed(gpu, tmp_path):
    path = dense(tmp_path / "a.onnx").path
    kept = KeptEngine(RTX, "1.7.1.116", SPEC, path)
    assert kept.find() is None
    kept.keep(b"the plan")
    assert KeptEngine(RTX, "1.7.1.116", SPEC, dense(tmp_path / "b.onnx", seed=1).path).find() == b"the plan"
    assert KeptEngine(RTX, "1.7.1.117", SPEC, path).find() is None
    assert KeptEngine(RTX, "1.7.1.116", replace(SPEC, tf32=False), path).find() is None
    (file,) = (tmp_path / "cache" / "inference-workbench" / "refit").iterdir()
    file.write_bytes(b"another plan")
    assert kept.find() is None


def test_a_disk_that_refuses_costs_nothing_but_time(gpu, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept = KeptEngine(RTX, "1.7.1.116", SPEC, dense(tmp_path / "a.onnx").path)
    kept.keep(b"the plan")
    assert kept.find() is None


class Library:
    """Stands for a library whose engine's weights can be replaced; what was asked of it is in ``asked``."""

    def __init__(self, *, refittable=True, fits=True, missing=(), done=True):
        self.refittable, self.fits, self.missing, self.done = refittable, fits, missing, done
        self.asked, self.lines = [], []

    def errors(self):
        return self.lines

    def text(self):
        return ""

    def Refitter(self, engine, log):  # noqa: N802 - the library's name
        assert engine is log is self
        self.asked.append("refitter")
        return self

    def OnnxParserRefitter(self, refitter, log):  # noqa: N802
        assert refitter is log is self
        return self

    def refit_from_file(self, path):
        self.asked.append(path)
        if not self.fits:
            self.lines.append("the weights have another size")
        return self.fits

    def get_missing_weights(self):
        return self.missing

    def refit_cuda_engine(self):
        self.asked.append("refit")
        return self.done

    def serialize(self):
        self.asked.append("serialize")
        return b"the plan with other weights"


def replaced(monkeypatch, found, path):
    def load(plan):
        plan.trt = plan.log = plan.engine = found

    monkeypatch.setattr(trt_engine.EnginePlan, "load", load)
    return refitted(RTX, b"the plan", path)


def test_the_library_is_asked_for_it_in_this_order(monkeypatch, tmp_path):
    found = Library()
    assert replaced(monkeypatch, found, tmp_path / "m.onnx") == b"the plan with other weights"
    assert found.asked == ["refitter", str(tmp_path / "m.onnx"), "refit", "serialize"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Library(refittable=False), "The earlier engine was not built to have its weights replaced."),
        (Library(fits=False), "TensorRT for RTX could not replace the weights: the weights have another size."),
        (Library(missing=["w", "b"]), "TensorRT for RTX could not replace the weights: the ONNX file lacks w, b."),
        (Library(done=False), "TensorRT for RTX could not replace the weights: the library gave no reason."),
    ],
)
def test_what_does_not_fit_is_refused(monkeypatch, tmp_path, found, said):
    with pytest.raises(BuildError) as caught:
        replaced(monkeypatch, found, tmp_path / "m.onnx")
    assert str(caught.value) == said
    assert "serialize" not in found.asked


needs_rtx = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)


@needs_rtx
def test_the_library_has_what_is_asked_of_it():
    trt, _ = library(RTX)
    for member in ("get_missing_weights", "refit_cuda_engine"):
        assert callable(getattr(trt.Refitter, member))
    assert "refit_from_file(self: " in trt.OnnxParserRefitter.refit_from_file.__doc__
    assert isinstance(trt.ICudaEngine.refittable, property)


@needs_rtx
def test_a_model_that_was_trained_further_is_not_built_again(gpu, tmp_path, monkeypatch):
    """TensorRT for RTX builds without the flag here, for which it would need a GPU; the plan itself is real."""
    monkeypatch.setattr(options, "apply", lambda *_: None)
    given = []

    def replace_weights(flavour, plan, path, *, host_code):
        given.append((flavour, plan, path.name, host_code))
        if len(given) == 2:
            raise BuildError("It does not fit.")
        return b"refitted"

    monkeypatch.setattr(refit, "refitted", replace_weights)

    def build(name, **model):
        reported, into = [], tmp_path / name
        into.mkdir()
        built = tensorrt.BACKEND.build(dense(into / "m.onnx", **model), SPEC, into, reported.append)
        return built, (into / tensorrt.FILE).read_bytes(), reported

    built, plan, reported = build("first")
    assert len(plan) > 10_000
    assert "replace weights" not in reported
    assert "weights" not in built.note
    built, found, reported = build("trained", seed=1)
    assert (found, given) == (b"refitted", [(RTX, plan, "m.onnx", False)])
    assert "replace weights" in reported
    assert "build engine" not in reported
    assert built.note.endswith("not built: the weights of an earlier engine of the same structure were replaced")
    assert built.realized.layers == {"fp32": 1}
    assert len(list((tmp_path / "cache" / "inference-workbench" / "refit").iterdir())) == 1  # what it came from
    built, found, reported = build("refused", seed=2)
    assert len(found) > 10_000
    assert "built again: an earlier engine's weights could not be replaced (It does not fit)" in built.note
    build("another", op="Tanh")
    assert len(given) == 2  # another structure has no earlier engine


@needs_rtx
def test_without_the_option_nothing_is_kept(gpu, tmp_path, monkeypatch):
    tensorrt.BACKEND.build(dense(tmp_path / "m.onnx"), replace(SPEC, build_options=()), tmp_path, lambda _: None)
    assert not (tmp_path / "cache").exists()
