"""Rewritten graphs: what they compute in, how right they stay, and which calibration really happened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import model_zoo
import numpy as np
import pytest
from converting import rewritten

from workbench.data.dataset import digits
from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError
from workbench.export.convert import export
from workbench.lessons.scales import scales
from workbench.models.inspection import inspect_model
from workbench.precision.rewrite import FORMS, fix_batch, rewrite
from workbench.records import Calibration


@pytest.fixture(scope="module")
def parts() -> tuple[Samples, Samples, Samples]:
    return digits()


@pytest.fixture(scope="module")
def demo_onnx(demo_folder: Path, parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.onnx"
    model = inspect_model(demo_folder / "demo.keras")
    export(model, demo_folder / "saved_model", parts[2], path, lambda _: None)
    return path


def accuracy(path: Path, test: Samples) -> float:
    found = model_zoo.run_onnx(path, test.inputs)["output_0"]
    return float((found.argmax(axis=1) == test.labels).mean())


def ops(path: Path) -> Counter:
    import onnx

    return Counter(node.op_type for node in onnx.load(path).graph.node)


def spoiled(calibration: Samples, value: float = 60) -> Samples:
    """The same images with one pixel of one image at ``value`` instead of at most 1."""
    images = calibration.inputs["image"].copy()
    images[0, 5, 5, 0] = value
    return Samples("spoiled", {"image": images}, calibration.labels)


def test_fp32_is_the_file_as_it_was(tmp_path, demo_onnx):
    assert rewritten(demo_onnx, "fp32", tmp_path / "out.onnx") == {"form": "fp32"}
    assert (tmp_path / "out.onnx").read_bytes() == demo_onnx.read_bytes()


def test_fp16_halves_the_weights_and_keeps_inputs_outputs_and_accuracy(tmp_path, demo_onnx, parts):
    import onnx

    into = tmp_path / "fp16.onnx"
    rewritten(demo_onnx, "fp16", into)
    model = onnx.load(into)
    onnx.checker.check_model(model, full_check=True)
    floats = {t.data_type for t in model.graph.initializer} - {onnx.TensorProto.INT64}
    assert floats == {onnx.TensorProto.FLOAT16}
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {onnx.TensorProto.FLOAT}
    assert into.stat().st_size < 0.6 * demo_onnx.stat().st_size
    assert abs(accuracy(into, parts[2]) - accuracy(demo_onnx, parts[2])) <= 0.002


def test_fp16_reports_weights_that_overflow(tmp_path):
    from onnx import helper

    weight = np.full((4, 3), 7e4, np.float32)
    weight[0] = 1
    proto = model_zoo.onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    done = rewritten(model_zoo.save(proto, tmp_path / "large.onnx"), "fp16", tmp_path / "fp16.onnx")
    assert done["overflows"] == ["w holds 70000, clipped to 65504"]


def test_fp16_does_not_round_indices(tmp_path):
    """Casts to FP32 stay, and a comparison of large integers stays exact: 4097 is 4096 in FP16."""
    from onnx import helper

    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=1),
        helper.make_node("Less", ["wide", "limit"], ["below"]),
        helper.make_node("Where", ["below", "one", "two"], ["picked"]),
        helper.make_node("Mul", ["wide", "tiny"], ["scaled"]),
        helper.make_node("Add", ["picked", "scaled"], ["y"]),
    ]
    weights = {"limit": np.float32(4096.5), "one": np.float32(1), "two": np.float32(2), "tiny": np.float32(1e-4)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"ids": ("n", 1)}, outputs={"y": ("n", 1)}, dtype=6)
    into = tmp_path / "fp16.onnx"
    rewritten(model_zoo.save(proto, tmp_path / "ids.onnx"), "fp16", into)
    y = model_zoo.run_onnx(into, {"ids": np.array([[4096], [4097]], np.int32)})["y"]
    assert y.ravel() == pytest.approx([1.41, 2.41], abs=0.01)


@pytest.mark.long
def test_unsigned_int8_quantizes_every_layer_of_weight_and_keeps_accuracy(tmp_path, demo_onnx, parts):
    import onnx

    into = tmp_path / "u8.onnx"
    done = rewritten(demo_onnx, "int8-u8", into, parts[1].take(slice(200)), Calibration.ENTROPY)
    assert (done["weighted_layers"], done["quantized_layers"], done["samples"]) == (6, 6, 200)
    assert done["method"] == "entropy"
    graph = onnx.load(into).graph
    kinds = {t.name: t.data_type for t in graph.initializer}
    zero_points = {kinds[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert zero_points == {onnx.TensorProto.UINT8}
    weights = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert len(weights) == 6
    assert into.stat().st_size < 0.5 * demo_onnx.stat().st_size
    # the demo is trained on the spot, and CPUs round differently: losses from 0.1 to 2.3 points were seen
    assert accuracy(demo_onnx, parts[2]) - accuracy(into, parts[2]) <= 0.03


@pytest.mark.long
def test_signed_int8_is_what_tensorrt_accepts(tmp_path, demo_onnx, parts):
    """Symmetric: every zero point is 0; per channel; the bias is left alone."""
    import onnx
    from onnx import numpy_helper

    into = tmp_path / "s8.onnx"
    rewritten(demo_onnx, "int8-s8", into, parts[1].take(slice(200)), Calibration.ENTROPY)
    graph = onnx.load(into).graph
    stored = {t.name: t for t in graph.initializer}
    quantizing = [n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in quantizing:
        zero = numpy_helper.to_array(stored[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (numpy_helper.to_array(stored[node.input[1]]) > 0).all()
    makers = {n.output[0]: n for n in graph.node}
    layers = [n for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) == 6
    for node in layers:
        assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        scale = stored[makers[node.input[1]].input[1]]
        assert list(scale.dims) == [
            numpy_helper.to_array(stored[makers[node.input[1]].input[0]]).shape[node.op_type != "Conv"]
        ]
        for bias in node.input[2:]:
            assert stored[bias].data_type == onnx.TensorProto.FLOAT
    # the demo is trained on the spot, and CPUs round differently: losses from 0.1 to 2.3 points were seen
    assert accuracy(demo_onnx, parts[2]) - accuracy(into, parts[2]) <= 0.03


@pytest.mark.parametrize("form", ["int8-u8", "int8-s8"])
def test_the_range_by_distribution_reaches_as_far_below_zero_as_above(tmp_path, demo_onnx, parts, form):
    """ONNX Runtime's method for 8-bit floats: integers get a range that holds all values, and is symmetric even in u8."""
    found = {}
    for method in (Calibration.MINMAX, Calibration.DISTRIBUTION):
        into = tmp_path / f"{method}.onnx"
        rewritten(demo_onnx, form, into, parts[1].take(slice(32)), method)
        table = scales(into)
        found[method] = table[table["what"] == "activation"].set_index("tensor")
    assert accuracy(demo_onnx, parts[2]) - accuracy(into, parts[2]) <= 0.03
    plain, wide = found[Calibration.MINMAX]["scale"], found[Calibration.DISTRIBUTION]["scale"]
    # a tensor without negative values: u8 has half of its levels left, s8 is symmetric anyway
    assert float((wide / plain).median()) == pytest.approx(2 if form == "int8-u8" else 1, rel=0.05)


@pytest.mark.long
def test_entropy_and_percentile_survive_an_outlier_that_ruins_minmax(tmp_path, demo_onnx, parts):
    """One wrong pixel. Entropy as the library ships it would fall with min-max, because it is min-max."""
    calibration = spoiled(parts[1].take(slice(200)))
    scores = {}
    for method in (Calibration.MINMAX, Calibration.ENTROPY, Calibration.PERCENTILE):
        into = tmp_path / f"{method}.onnx"
        rewritten(demo_onnx, "int8-s8", into, calibration, method)
        scores[method] = accuracy(into, parts[2])
    assert scores[Calibration.MINMAX] < 0.7
    assert scores[Calibration.ENTROPY] > 0.9
    assert scores[Calibration.PERCENTILE] > 0.9


@pytest.mark.parametrize("values", ["normal", "relu", "outlier", "few", "zeros"])
def test_the_fast_entropy_search_finds_the_librarys_thresholds(values):
    from onnxruntime.quantization.calibrate import HistogramCollector

    from workbench.precision.calibration import BINS, LEVELS, collector_class

    generator = np.random.default_rng(0)
    normal = generator.standard_normal(20_000)
    array = {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "outlier": np.append(normal, 60),
        "few": generator.random(50) ** 9,
        "zeros": np.zeros(100),
    }[values].astype(np.float32)
    found = []
    for kind in (HistogramCollector, collector_class()):
        collector = kind("entropy", True, BINS, LEVELS, 99.99, "same")
        collector.collect({"t": array})
        found.append(collector.compute_collection_result()["t"][:2])
    assert found[0] == found[1]


@pytest.mark.long
def test_the_guard_catches_what_default_optimization_makes_of_fp8(tmp_path, demo_onnx, parts):
    """As it is written the file is right; ONNX Runtime's default level computes garbage from it, without a word."""
    from workbench.accuracy.budget import budget_of
    from workbench.accuracy.guard import Guard, judge
    from workbench.accuracy.score import score
    from workbench.export.onnx_runner import OnnxFile

    into, test = tmp_path / "fp8.onnx", parts[2].take(slice(600))
    assert rewritten(demo_onnx, "fp8", into, parts[1].take(slice(100)), Calibration.ENTROPY)["quantized_layers"] == 6
    source, found = (OnnxFile(path).run(test.inputs) for path in (demo_onnx, into))
    optimized = model_zoo.run_onnx(into, test.inputs)
    verdicts = [
        judge(score("k", outputs, source, test.labels), budget_of("5 points")).verdict for outputs in (found, optimized)
    ]
    assert verdicts == [Guard.WITHIN, Guard.OVER]


@pytest.mark.long
def test_chunks_do_not_change_the_ranges(tmp_path, demo_onnx, parts, monkeypatch):
    """Also with a last chunk that is shorter, and with the outlier in the first or in the last one."""
    from workbench.precision import calibration

    spoilt = spoiled(parts[1].take(slice(50)), 3)
    backwards = spoilt.take(slice(None, None, -1))
    files = []
    for chunk, samples in ((50, spoilt), (32, spoilt), (7, backwards)):
        monkeypatch.setattr(calibration, "_CHUNK", chunk)
        files.append(tmp_path / f"{chunk}.onnx")
        rewritten(demo_onnx, "int8-u8", files[-1], samples, Calibration.ENTROPY)
    assert len({file.read_bytes() for file in files}) == 1


def test_a_model_with_a_fixed_batch_is_calibrated_in_that_batch(tmp_path, demo_onnx, parts):
    fixed, into = tmp_path / "fixed.onnx", tmp_path / "int8.onnx"
    fix_batch(demo_onnx, 8, fixed)
    done = rewritten(fixed, "int8-u8", into, parts[1].take(slice(20)))
    assert done["samples"] == 20
    assert model_zoo.run_onnx(into, parts[2].feeds(0, 8))["output_0"].shape == (8, 10)


def test_an_old_opset_is_raised_because_per_channel_needs_it(tmp_path):
    source = model_zoo.save(model_zoo.onnx_dense(opset=11), tmp_path / "old.onnx")
    x = np.random.default_rng(2).standard_normal((64, 4)).astype(np.float32)
    into = tmp_path / "int8.onnx"
    done = rewritten(source, "int8-s8", into, Samples("s", {"x": x}))
    assert (done["opset_before"], done["opset"]) == (11, 13)
    wanted, found = model_zoo.run_onnx(source, {"x": x})["y"], model_zoo.run_onnx(into, {"x": x})["y"]
    assert 0 < np.abs(wanted - found).max() < 0.1


def test_a_sum_with_a_constant_stays_out_of_int8(tmp_path):
    """A bias of its own would lose most of its digits."""
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["y"], name="a"),
    ]
    weights = {"w": np.eye(4, 3, dtype=np.float32), "b": np.array([1000, 0.001, 0], np.float32)}
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": ("n", 2, 4)}, outputs={"y": ("n", 2, 3)})
    source = model_zoo.save(proto, tmp_path / "biased.onnx")
    x = np.random.default_rng(3).uniform(-1, 1, (64, 2, 4)).astype(np.float32)
    for form in ("int8-u8", "int8-s8"):
        into = tmp_path / f"{form}.onnx"
        assert rewritten(source, form, into, Samples("s", {"x": x}))["quantized_layers"] == 1
        difference = model_zoo.run_onnx(into, {"x": x})["y"] - model_zoo.run_onnx(source, {"x": x})["y"]
        assert np.abs(difference).max() < 0.02


def test_a_bias_with_an_axis_too_many_is_quantized_as_any_other(tmp_path):
    """Exporters write [1, n]; the quantizer would give it scales that do not fit it, in a file that does not run."""
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["y"], name="a"),
    ]
    generator = np.random.default_rng(4)
    weights = {"w": generator.standard_normal((4, 3)).astype(np.float32), "b": np.array([[1, -2, 3]], np.float32)}
    source = model_zoo.save(model_zoo.onnx_model(nodes, weights), tmp_path / "wide.onnx")
    x = generator.standard_normal((64, 4)).astype(np.float32)
    said = []
    into = tmp_path / "int8.onnx"
    done = rewrite(
        source, "int8-u8", into, calibration=Samples("s", {"x": x}), method=Calibration.MINMAX, progress=said.append
    )
    assert (done["quantized_layers"], ops(into)["Gemm"]) == (1, 1)
    assert not any("another method" in text for text in said)
    wanted, found = (model_zoo.run_onnx(path, {"x": x})["y"] for path in (source, into))
    assert 0 < np.abs(found - wanted).max() < 0.15


def test_a_bias_that_layers_share_is_quantized_whatever_other_tensors_are_called(tmp_path):
    """tf2onnx merges equal biases. The quantizer's copy for the third layer would be called "b2", as the output of the second is."""
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b"], ["b1"], name="first"),
        helper.make_node("Conv", ["b1", "w1", "b"], ["b2"], name="second"),
        helper.make_node("Conv", ["b2", "w2", "b"], ["y"], name="third"),
    ]
    draw = np.random.default_rng(5)
    weights = {f"w{number}": draw.standard_normal((3, 3, 1, 1)).astype(np.float32) for number in range(3)}
    weights["b"] = np.array([1, -2, 3], np.float32)
    image = ("n", 3, 4, 4)
    proto = model_zoo.onnx_model(nodes, weights, inputs={"x": image}, outputs={"y": image})
    source = model_zoo.save(proto, tmp_path / "shared.onnx")
    samples = Samples("s", {"x": draw.standard_normal((64, 3, 4, 4)).astype(np.float32)})
    wanted = model_zoo.run_onnx(source, dict(samples.inputs))["y"]
    for form in ("int8-u8", "int8-s8"):
        into = tmp_path / f"{form}.onnx"
        assert rewritten(source, form, into, samples)["quantized_layers"] == 3
        found = model_zoo.run_onnx(into, dict(samples.inputs))["y"]
        assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("case", ["no samples", "quantized", "nothing", "unknown", "half"])
def test_what_cannot_be_rewritten_is_refused_and_leaves_nothing(tmp_path, demo_onnx, parts, case):
    from onnx import helper

    source, form, samples = demo_onnx, "int8-u8", parts[1].take(slice(8))
    if case == "no samples":
        samples, kind, says = None, InputError, "INT8 needs calibration samples"
    elif case == "quantized":
        source = tmp_path / "first"
        rewritten(demo_onnx, "int8-u8", source, samples)
        kind, says = InputError, "is quantized already (it holds DequantizeLinear, QuantizeLinear)"
    elif case == "nothing":
        proto = model_zoo.onnx_model([helper.make_node("Relu", ["x"], ["y"])], outputs={"y": ("n", 4)})
        source = model_zoo.save(proto, tmp_path / "relu")
        samples, kind, says = Samples("s", {"x": np.ones((8, 4), np.float32)}), ExportError, "has no layer to quantize"
    elif case == "unknown":
        form, kind, says = "int3", InputError, f"Choose from: {', '.join(FORMS)}"
    else:
        source, form = tmp_path / "half", "fp16"
        rewritten(demo_onnx, "fp16", source)
        kind, says = InputError, "already holds 16-bit weights"
    with pytest.raises(kind) as error:
        rewritten(source, form, tmp_path / "out.onnx", samples)
    assert says in error.value.message
    assert not list(tmp_path.glob("*.onnx")) + list(tmp_path.glob(".rewrite*"))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8-u8", "int8-s8"])
def test_a_fixed_batch_runs_alike(tmp_path, demo_onnx, parts, form):
    import onnx

    dynamic, fixed = tmp_path / "dynamic.onnx", tmp_path / "fixed.onnx"
    rewritten(demo_onnx, form, dynamic, parts[1].take(slice(32)))
    fix_batch(dynamic, 3, fixed)
    graph = onnx.load(fixed).graph
    dims = [d.dim_value for v in (*graph.input, *graph.output) for d in v.type.tensor_type.shape.dim]
    assert dims == [3, 28, 28, 1, 3, 10]
    feeds = parts[2].feeds(0, 3)
    wanted, found = model_zoo.run_onnx(dynamic, feeds), model_zoo.run_onnx(fixed, feeds)
    np.testing.assert_allclose(found["output_0"], wanted["output_0"], atol=1e-6)


def test_a_batch_that_is_fixed_already_is_kept_or_refused(tmp_path, demo_onnx):
    fix_batch(demo_onnx, 3, tmp_path / "three.onnx")
    fix_batch(tmp_path / "three.onnx", 3, tmp_path / "again.onnx")
    with pytest.raises(InputError, match="A batch of 4 was requested, but the model has the fixed batch 3"):
        fix_batch(tmp_path / "three.onnx", 4, tmp_path / "four.onnx")
    assert not (tmp_path / "four.onnx").exists()
