"""Building for real, with TensorRT for RTX, which needs no GPU; and every way to be refused."""

import threading
import warnings
from dataclasses import replace

import pytest
import small_onnx
from onnx import TensorProto, helper

from workbench.backends.tensorrt import build as trt_build
from workbench.backends.tensorrt import inspector, layers
from workbench.backends.tensorrt.backend import FILE, RTX_INT8, TensorRT
from workbench.backends.tensorrt.flavours import RTX
from workbench.errors import BuildError, Cancelled
from workbench.records import AxisRange, EngineSpec, Precision, TensorSpec, to_json
from workbench.system.machine import this_machine
from workbench.workers.pool import Pool

pytestmark = pytest.mark.skipif(not RTX.installed, reason=RTX.installed.reason)
SPEC = EngineSpec("tensorrt", Precision.FP32, "rtx", batches=(1, 4))
without_gpu = pytest.mark.skipif(bool(this_machine().gpu), reason="there is a GPU")


def quiet(_):
    pass


def build(source, spec=SPEC, progress=quiet):
    return trt_build.build_plan(RTX, source, spec, progress)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        (Precision.FP32, TensorProto.FLOAT),
        (Precision.FP16, TensorProto.FLOAT16),
        (Precision.BF16, TensorProto.BFLOAT16),
        (Precision.INT8, None),
    ],
)
@without_gpu
def test_each_precision_is_built_and_read_back(tmp_path, precision, kind):
    path = tmp_path / "model.onnx"
    source = small_onnx.quantized(path) if kind is None else small_onnx.convolution(path, kind)
    spec = replace(SPEC, precision=precision)
    built = TensorRT().build(source, spec, tmp_path, quiet)
    assert built.realized.layers == {str(precision): 1}
    assert built.realized.basis == layers.BASIS
    assert built.library == "TensorRT for RTX"
    assert not built.runnable
    assert built.note.startswith("built for NVIDIA GPUs; this machine has none")
    assert (RTX_INT8 in built.note) == (precision == Precision.INT8)
    assert (tmp_path / FILE).read_bytes()[:4] == b"vtrt"
    table = inspector.load(tmp_path)
    conv = next(layer for layer in table.layers if layer.type == "CONVOLUTION")
    assert (conv.precision, conv.origin) == (str(precision), ("conv",))
    assert conv.inputs[0].shape == (-1, 16 if kind is None else 3, 16, 16)
    assert [tensor.name for tensor in table.io] == ["x", "y"]


def test_weights_alone_in_int8_are_reported_as_stored_and_not_as_an_int8_layer(tmp_path):
    rows, columns = ("x", TensorProto.FLOAT16, (None, 64)), ("y", TensorProto.FLOAT16, (None, 64))
    held = [
        helper.make_tensor("w", TensorProto.INT8, (64, 64), [1] * 4096),
        helper.make_tensor("scale", TensorProto.FLOAT16, (), [0.01]),
        helper.make_tensor("zero", TensorProto.INT8, (), [0]),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["w_d"], name="weights"),
        helper.make_node("MatMul", ["x", "w_d"], ["y"], name="dense"),
    ]
    source = small_onnx.source(small_onnx.saved(tmp_path / "m.onnx", nodes, [rows], [columns], held), rows)
    declared = layers.declared(build(source).network)
    assert layers.realized(declared).layers == {"int8-weights": 1}


def test_phases_and_steps_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(trt_build, "STEP_S", 0.0)
    reported = []
    build(small_onnx.convolution(tmp_path / "m.onnx"), progress=reported.append)
    assert reported[:2] == ["parse ONNX", "build engine"]
    assert "Building engine" in reported
    steps = [text for text in reported if text.startswith("Optimizing graph ")]
    assert steps[0] == f"Optimizing graph 1/{len(steps)}"
    assert steps[-1] == f"Optimizing graph {len(steps)}/{len(steps)}"


def test_steps_that_follow_each_other_fast_are_not_all_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(trt_build, "STEP_S", 1e9)
    reported = []
    build(small_onnx.convolution(tmp_path / "m.onnx"), progress=reported.append)
    assert "Optimizing graph" in reported
    assert not any("/" in text for text in reported)


def test_a_progress_that_raises_ends_the_build(tmp_path):
    reported = []

    def progress(text):
        reported.append(text)
        if text == "Building engine":
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        build(small_onnx.tower(tmp_path / "m.onnx", 20), progress=progress)
    assert "Computing profile costs" not in reported  # a later phase


def test_cancelling_ends_the_worker_in_the_middle_of_a_build(tmp_path):
    source = small_onnx.tower(tmp_path / "m.onnx", 150, width=64)
    cancel, into, reported = threading.Event(), tmp_path / "engine", []
    into.mkdir()

    def progress(text):
        reported.append(text)
        if text == "Building engine":
            cancel.set()

    with Pool(lambda _: tmp_path / "log", cancel) as pool:
        with pytest.raises(Cancelled):
            pool.call(
                "onnx", "build", progress=progress, source=to_json(source), spec=to_json(SPEC), into=str(into)
            )  # fmt: skip
        assert pool._workers == {}
    assert "read back precision" not in reported
    assert list(into.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"workspace_bytes": 1},
            (
                f"TensorRT for RTX could not build '{replace(SPEC, workspace_bytes=1).label}': the workspace limit is too small for a layer; "
                "raise 'workspace_mib', or leave it at 0 for automatic."
            ),
        ),
        (
            {"batches": (4, 1)},
            (
                "The batch range 4 to 1 was refused: the sizes for 'x' are not in the order smallest, usual, largest; "
                "order them so."
            ),
        ),
        (
            {"build_options": ("version-compatible",)},
            (
                "TensorRT for RTX could not build 'tensorrt:rtx fp32': version-compatible engines need the lean runtime, "
                "which is not installed; leave out the option version-compatible."
            ),
        ),
    ],
)
def test_a_build_that_fails_says_why(tmp_path, changes, message):
    with pytest.raises(BuildError) as caught:
        build(small_onnx.convolution(tmp_path / "m.onnx"), replace(SPEC, **changes))
    assert str(caught.value) == message
    assert caught.value.log


@without_gpu
@pytest.mark.parametrize("option", ["refit", "strip-plan"])
@pytest.mark.parametrize("targets", [(), ("target=SM89",)])
def test_a_build_that_needs_a_gpu_says_so(tmp_path, option, targets):
    """With several targets it is chance which of two conditions the library finds broken first."""
    with pytest.raises(BuildError, match=r"this kind of build (needs an NVIDIA GPU|is for one GPU generation only); "):
        build(small_onnx.convolution(tmp_path / "m.onnx"), replace(SPEC, build_options=(option, *targets)))


@without_gpu
def test_the_target_of_this_machine_needs_one(tmp_path):
    with pytest.raises(BuildError, match="this machine has no NVIDIA driver"):
        build(small_onnx.convolution(tmp_path / "m.onnx"), replace(SPEC, build_options=("target=CURRENT",)))


@pytest.mark.parametrize("changes", [{"tf32": False}, {"optimization_level": 0}, {"build_options": ("target=SM75",)}])
def test_settings_are_taken(tmp_path, changes):
    source = small_onnx.convolution(tmp_path / "m.onnx")
    assert len(build(source, replace(SPEC, **changes)).plan) > 10_000


def test_tf32_and_detailed_profiling_reach_the_configuration(tmp_path):
    trt, log = trt_build.library(RTX)
    builder = trt.Builder(log)
    configs = [trt_build._config(trt, builder, replace(SPEC, tf32=asked), log) for asked in (True, False)]
    assert [config.get_flag(trt.BuilderFlag.TF32) for config in configs] == [True, False]
    assert {config.profiling_verbosity for config in configs} == {trt.ProfilingVerbosity.DETAILED}


def test_level_workspace_and_options_reach_the_configuration(tmp_path):
    trt, log = trt_build.library(RTX)
    builder = trt.Builder(log)
    plain = trt_build._config(trt, builder, SPEC, log)
    asked = replace(SPEC, optimization_level=1, workspace_bytes=2**20, build_options=("refit", "weight-streaming"))
    config = trt_build._config(trt, builder, asked, log)
    assert (config.builder_optimization_level, config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)) == (1, 2**20)
    for flag in (trt.BuilderFlag.REFIT, trt.BuilderFlag.WEIGHT_STREAMING):
        assert (plain.get_flag(flag), config.get_flag(flag)) == (False, True)


def test_the_range_of_sizes_is_the_batches_and_the_free_axes(tmp_path):
    shape = (None, None)
    path = small_onnx.saved(
        tmp_path / "m.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, (None, "m"))],
        [("y", TensorProto.FLOAT, (None, "m"))],
    )
    spec = TensorSpec("x", "float32", shape, ranges=(AxisRange(1, 2, 8, 16),))
    trt, log = trt_build.library(RTX)
    builder = trt.Builder(log)
    network = trt_build._parsed(trt, builder, path, log)
    profile = trt_build._profile(builder, network, (spec,), SPEC)
    assert [tuple(size) for size in profile.get_shape("x")] == [(1, 2), (4, 8), (4, 16)]


@pytest.mark.parametrize(
    ("node", "kind", "said"),
    [
        (
            helper.make_node("Blur", ["x"], ["y"], name="blur_1", domain="made.up"),
            TensorProto.FLOAT,
            (
                "TensorRT's parser refused the ONNX file: Blur 'blur_1': the model has a custom operator that needs a "
                "plugin; replace the operator, or use another backend."
            ),
        ),
        (
            helper.make_node("Det", ["x"], ["y"], name="my_det"),
            TensorProto.FLOAT,
            "TensorRT's parser refused the ONNX file: Det 'my_det': TensorRT does not support it here (checkDet).",
        ),
        (
            helper.make_node("Identity", ["x"], ["y"], name="same"),
            TensorProto.STRING,
            (
                "TensorRT's parser refused the ONNX file: an input or output has a type that TensorRT does not know, such as "
                "text; take it out of the model."
            ),
        ),
    ],
)
def test_what_the_parser_refuses_is_named(tmp_path, node, kind, said):
    value = ("x", kind, (None, 4))
    path = small_onnx.saved(tmp_path / "m.onnx", [node], [value], [("y", kind, (None, 4))])
    with pytest.raises(BuildError) as caught:
        build(small_onnx.source(path, value))
    assert str(caught.value) == said


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"not a model at all", b"\x08\x0a"])
def test_junk_is_refused_before_it_is_built(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BuildError, match=r"^TensorRT's parser refused the ONNX file: .{20}"):
        build(small_onnx.source(tmp_path / "m.onnx"))


def test_an_unlisted_input_is_named(tmp_path):
    source = small_onnx.convolution(tmp_path / "m.onnx")
    with pytest.raises(BuildError, match="has an input 'x' that the model does not list"):
        build(replace(source, inputs=()))


def test_an_fp64_input_is_refused_and_not_read_as_another_type(tmp_path):
    with pytest.raises(BuildError, match="The input 'x' is float64 in the model and float32 in TensorRT"):
        build(small_onnx.convolution(tmp_path / "m.onnx", TensorProto.DOUBLE))


def test_fp64_inside_is_reported(tmp_path):
    value, result = ("x", TensorProto.FLOAT, (None, 4)), ("y", TensorProto.FLOAT, (None, 4))
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Constant", [], ["d"], value=helper.make_tensor("d", TensorProto.DOUBLE, (), [2.0])),
        helper.make_node("Add", ["wide", "c"], ["sum"]),
        helper.make_node("Mul", ["sum", "d"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    held = [helper.make_tensor("c", TensorProto.DOUBLE, (), [1.0])]
    path = small_onnx.saved(tmp_path / "m.onnx", nodes, [value], [result], held)
    assert build(small_onnx.source(path, value)).notes == (
        "3 tensors of the model are FP64, which TensorRT computes in FP32",
    )


def test_64_bit_integers_are_reported(tmp_path):
    value, result = ("ids", TensorProto.INT64, (None, 4)), ("y", TensorProto.FLOAT, (None, 4))
    nodes = [helper.make_node("Cast", ["ids"], ["y"], to=TensorProto.FLOAT)]
    path = small_onnx.saved(tmp_path / "m.onnx", nodes, [value], [result])
    assert build(small_onnx.source(path, value)).notes == ("takes 64-bit integers: ids",)


def test_an_input_that_decides_shapes_is_refused(tmp_path):
    value, size = ("x", TensorProto.FLOAT, (None, 4)), ("size", TensorProto.INT64, (2,))
    nodes = [helper.make_node("Reshape", ["x", "size"], ["y"])]
    path = small_onnx.saved(tmp_path / "m.onnx", nodes, [value, size], [("y", TensorProto.FLOAT, (None, None))])
    with pytest.raises(BuildError, match="The input 'size' decides the shape of something inside the model"):
        build(small_onnx.source(path, value, size))


def test_an_ordinary_model_has_no_refused_node(tmp_path):
    assert trt_build.refused_nodes(RTX, small_onnx.convolution(tmp_path / "m.onnx").path) == ()


def test_the_full_library_is_given_the_timing_cache_and_what_it_learned_is_kept(tmp_path, monkeypatch):
    """With TensorRT for RTX in the place of the full library: it takes and gives such caches, and leaves them empty."""
    given, file = [], tmp_path / "cache" / "timing.bin"
    monkeypatch.setattr(trt_build, "FULL", RTX)
    monkeypatch.setattr(trt_build.timing_cache, "path", lambda flavour, version: file)
    give = trt_build.timing_cache.give
    monkeypatch.setattr(trt_build.timing_cache, "give", lambda *asked: given.append(asked[1]) or give(*asked))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that its caches do nothing
        assert build(small_onnx.convolution(tmp_path / "m.onnx")).notes == ()
        assert given == [file]
        assert len(file.read_bytes()) > 50
        monkeypatch.setattr(trt_build.timing_cache, "give", lambda *_: False)
        notes = build(small_onnx.convolution(tmp_path / "m.onnx")).notes
    assert notes == ("the timing cache did not fit and was replaced by an empty one",)


def test_one_of_several_builds_is_given_no_timing_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(trt_build, "FULL", RTX)
    monkeypatch.setattr(trt_build.timing_cache, "path", lambda *_: pytest.fail("it is to time its kernels itself"))
    build(small_onnx.convolution(tmp_path / "m.onnx"), replace(SPEC, build=2))


def test_tensorrt_for_rtx_is_given_no_timing_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(trt_build.timing_cache, "path", lambda *_: pytest.fail("it has none"))
    build(small_onnx.convolution(tmp_path / "m.onnx"))
