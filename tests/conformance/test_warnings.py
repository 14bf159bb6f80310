"""Warnings for models that use a deviation which a library computes differently, from the results that come with the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_onnx import convolution, saved

import workbench
from workbench import backends
from workbench.conformance import warnings
from workbench.conformance.deviations import Deviation
from workbench.conformance.examination import described, examine
from workbench.conformance.outcomes import KNOWN, Conformance, loads, save
from workbench.conformance.warnings import Difference, current, installed, of_engine, warnings_of
from workbench.models.inspection import inspect_model
from workbench.panel import parts, view
from workbench.records import EngineSpec, Precision, from_json, to_json

IMAGE = ("x", TensorProto.FLOAT, (None, 3, 8, 8))


def resizing(path: Path, factor: float, opset: int = 13) -> Path:
    """A Resize with aligned corners: by ``factor`` in height and width."""
    node = helper.make_node(
        "Resize", ["x", "", "s"], ["y"], name="shrink", mode="linear", coordinate_transformation_mode="align_corners"
    )
    scales = helper.make_tensor("s", TensorProto.FLOAT, (4,), [1, 1, factor, factor])
    size = int(8 * factor)
    return saved(path, [node], [IMAGE], [("y", TensorProto.FLOAT, (None, 3, size, size))], [scales], opset)


def recorded(backend: str) -> Conformance:
    """What comes with the package for the installed version; skips where it was recorded for another."""
    found = [
        one
        for one in current(loads(file.read_text(encoding="utf-8")) for file in sorted(KNOWN.glob("*.json")))
        if one.backend == backend
    ]
    if not found:
        pytest.skip(f"no result comes with the package for {backend} {installed(backend)}")
    return found[0]


def reported(path: Path, folders=()) -> dict[str, tuple[str, ...]]:
    found = warnings_of(path, inspect_model(path), folders)
    return {address: tuple(each.text for each in differences) for address, differences in found.items()}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_model_with_a_failing_form_is_warned_of_and_the_engine_really_differs(tmp_path, backend):
    recorded(backend)
    path = resizing(tmp_path / "shrunk.onnx", 0.6)
    (text,) = reported(path)[backend]
    title, version = backends.get(backend).title, installed(backend)
    assert text == (
        f"{title} {version} computes Resize differently from ONNX's definition: by 0.857 on ONNX's own case "
        "'resize_downsample_scales_linear_align_corners', with coordinate_transformation_mode = align_corners, result smaller than "
        "the input, of version 19 of the operator (the model has version 13); here: 'shrink'"
    )
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    defined = ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    if backend == "onnxruntime":
        found = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        assert np.abs(found - defined).max() > 0.05


def test_the_same_operator_in_a_form_that_is_right_is_not_warned_of(tmp_path):
    assert reported(resizing(tmp_path / "double.onnx", 2.0)) == {}
    assert reported(convolution(tmp_path / "conv.onnx").path) == {}


def test_sizes_that_are_not_known_give_no_warning(tmp_path):
    """It is not known whether the result is smaller."""
    path = resizing(tmp_path / "shrunk.onnx", 0.6)
    import onnx

    proto = onnx.load(path)
    proto.graph.initializer.pop()
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, (4,)))
    for value in proto.graph.output:
        del value.type.tensor_type.shape.dim[2:]
        value.type.tensor_type.shape.dim.add()
        value.type.tensor_type.shape.dim.add()
    onnx.save(proto, path)
    model = replace(inspect_model(resizing(tmp_path / "other.onnx", 0.6)), name="shrunk")
    assert warnings_of(path, model) == {}


def test_the_preflight_tells_it_and_its_record_keeps_it(tmp_path):
    recorded("onnxruntime")
    path = resizing(tmp_path / "shrunk.onnx", 0.6)
    found = examine(path, inspect_model(path), lambda _: None)
    assert found.problems == ()
    kept = from_json(type(found), json.loads(json.dumps(to_json(found))))
    lines = dict(described(kept))["ONNX Runtime"]
    assert lines[0] == "supports every node"
    assert "computes Resize differently from ONNX's definition: by 0.857 on ONNX's own case" in lines[1]
    shown = view.model_facts(inspect_model(path), kept)  # in the panel and in the report
    assert f"ONNX Runtime {installed('onnxruntime')} computes Resize differently from ONNX&#39;s definition" in shown


@pytest.mark.long
def test_a_run_warns_of_it_before_its_numbers_and_so_does_its_report(tmp_path):
    recorded("onnxruntime")
    path = resizing(tmp_path / "shrunk.onnx", 0.6)
    asked = workbench.Experiment(
        model=str(path), data="random", backends="onnxruntime", precisions="fp32", batches="1", measure_s=0.05, max_measure_s=0.05, rounds=1
    )  # fmt: skip
    results = workbench.run(asked, store=tmp_path / "store")
    (text,) = [text for text in results.warnings if "ONNX's definition" in text]
    assert text.startswith(f"ONNX Runtime {installed('onnxruntime')} computes Resize differently")
    assert text.endswith("; here: 'shrink'.")
    assert "computes Resize differently from ONNX&#39;s definition" in parts.warnings_html(results)


def test_a_difference_of_a_lower_precision_concerns_engines_of_that_precision_only():
    differences = {
        "openvino": (Difference("fp32", "one"), Difference("bf16", "two")),
        "tensorrt:rtx": (Difference("fp32", "three"),),
    }
    asked = {
        EngineSpec("openvino", Precision.FP32): ["one"],
        EngineSpec("openvino", Precision.INT8): ["one"],
        EngineSpec("openvino", Precision.BF16): ["one", "two"],
        EngineSpec("openvino", Precision.BF16, environment="old"): [],
        EngineSpec("tensorrt", Precision.FP32): [],
        EngineSpec("tensorrt", Precision.FP16, mode="rtx"): ["three"],
    }
    assert {spec: list(of_engine(differences, spec)) for spec in asked} == asked


def result(**changes) -> Conformance:
    deviation = Deviation("Conv", 22, (), ("basic_conv_with_padding",), 0.25)
    base = Conformance(
        "onnxruntime", "ONNX Runtime", installed("onnxruntime"), "fp32", "9", "here", "2026-11-30", 0, (), (deviation,)
    )
    return replace(base, **changes)


def test_the_users_own_results_count_more(tmp_path):
    save(result(), tmp_path / "own")
    path = convolution(tmp_path / "conv.onnx").path
    (text,) = reported(path, [tmp_path / "own"])["onnxruntime"]
    assert text == (
        f"ONNX Runtime {installed('onnxruntime')} computes Conv differently from ONNX's definition: by 0.25 on ONNX's own case "
        "'basic_conv_with_padding'; here: 'conv'"
    )


def test_another_version_of_the_library_claims_nothing(tmp_path):
    save(result(version="0.0.1"), tmp_path / "own")
    assert reported(convolution(tmp_path / "conv.onnx").path, [tmp_path / "own"]) == {}


def test_what_depends_on_values_and_what_is_not_a_number_is_reported(tmp_path):
    deviation = Deviation("Conv", 22, (), ("one", "two"), None, "shape [1] instead of [2]", sometimes=True)
    save(result(deviations=(deviation,)), tmp_path / "own")
    (text,) = reported(convolution(tmp_path / "conv.onnx").path, [tmp_path / "own"])["onnxruntime"]
    assert (
        "can compute Conv differently from ONNX's definition: shape [1] instead of [2] on ONNX's own case 'one'" in text
    )


def test_a_lower_precision_tells_only_what_is_new(tmp_path):
    other = Deviation("Conv", 22, ("group as by default",), ("three",), 0.5)
    save(result(), tmp_path / "own")
    save(result(precision="bf16", deviations=(*result().deviations, other)), tmp_path / "own")
    texts = reported(convolution(tmp_path / "conv.onnx").path, [tmp_path / "own"])["onnxruntime"]
    assert [("in BF16" in text, "'three'" in text) for text in texts] == [(False, False)]
    save(result(deviations=(replace(result().deviations[0], properties=("pads given",)),)), tmp_path / "own")
    save(
        result(precision="bf16", deviations=(replace(other, properties=("pads given", "X is float")),)),
        tmp_path / "own",
    )
    texts = reported(convolution(tmp_path / "conv.onnx").path, [tmp_path / "own"])["onnxruntime"]
    assert [("in BF16" in text, "'three'" in text) for text in texts] == [(False, False)]
    save(result(precision="bf16", deviations=(replace(other, properties=("X is float",)),)), tmp_path / "own")
    texts = reported(convolution(tmp_path / "conv.onnx").path, [tmp_path / "own"])["onnxruntime"]
    assert [("in BF16" in text, "'three'" in text) for text in texts] == [(False, False), (True, True)]


def test_without_results_no_model_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(warnings, "KNOWN", tmp_path)
    assert warnings_of(tmp_path / "missing.onnx", None) == {}
