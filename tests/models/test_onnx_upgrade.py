"""Files of opsets below 7: brought to 7 and compared with the file as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.conformance.cases import case_of
from workbench.errors import ExportError, InputError
from workbench.export.convert import export
from workbench.models.describe import export_notes
from workbench.models.inspection import inspect_model
from workbench.models.onnx_file import load_onnx
from workbench.models.onnx_upgrade import opset_of


def saved(path: Path, name: str) -> Path:
    """A case of ONNX's own as a file."""
    path.write_bytes(case_of(name).model.SerializeToString())
    return path


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "by"),
    [("Conv2d", "ONNX Runtime"), ("BatchNorm2d_eval", "ONNX's reference evaluator")],
)
def test_an_old_file_is_upgraded_and_compared(tmp_path, name, by):
    model = inspect_model(saved(tmp_path / "old.onnx", name))
    assert model.probe.worked
    (note,) = model.notes
    assert note == (
        f"The file has ONNX opset 6; ONNX's converter upgrades it to 7, and exporting compares it with the file as it is, run by {by}"
    )
    check = export(model, None, None, tmp_path / "new.onnx", lambda _: None)
    assert check.opset == 7
    assert check.max_rel_diff < 1e-5
    ((feeds, wanted),) = case_of(name).feeds
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "new.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found = session.run(None, dict(zip(names, feeds.values(), strict=True)))
    np.testing.assert_allclose(found[0], next(iter(wanted.values())), rtol=1e-3, atol=1e-6)


def test_slopes_of_a_prelu_keep_their_channels(tmp_path):
    proto = load_onnx(saved(tmp_path / "old.onnx", "PReLU_2d_multiparam"))
    assert opset_of(proto) == 7
    (slopes,) = proto.graph.initializer
    assert list(slopes.dims) == [3, 1, 1]


def old(tmp_path: Path, nodes, opset=6) -> Path:
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3))],
    )
    path = tmp_path / "old.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3).SerializeToString()
    )
    return path


def test_what_the_converter_does_not_take_is_refused_with_the_reason(tmp_path):
    path = old(tmp_path, [helper.make_node("Upsample", ["x"], ["y"], height_scale=1.0, width_scale=1.0)], opset=1)
    with pytest.raises(
        InputError, match=r"uses ONNX opset 1, engines need 7 or later, and ONNX's converter does not convert it: .*"
    ):
        inspect_model(path)


def test_an_upgrade_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    """As if the converter had turned a Sigmoid into a Tanh."""
    path = old(tmp_path, [helper.make_node("Sigmoid", ["x"], ["y"])])
    model = inspect_model(path)
    from onnx import version_converter

    convert = version_converter.convert_version

    def wrong(proto, version):
        found = convert(proto, version)
        found.graph.node[0].op_type = "Tanh"
        return found

    monkeypatch.setattr(version_converter, "convert_version", wrong)
    with pytest.raises(ExportError, match="does not compute what the model computes"):
        export(model, None, None, tmp_path / "new.onnx", lambda _: None)


CHANNELS = np.array([1.0, -2.0, 3.0], np.float32)


def with_free_axes(path: Path, nodes, shape, opset=6, **weights) -> Path:
    """A file with the input x and the output y of this shape, and weights that are listed among the inputs, as was required."""
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    inputs += [helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in stored]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "old", inputs, outputs, stored)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3).SerializeToString()
    )
    return path


def upgraded_run(path: Path, into: Path, *feeds: np.ndarray) -> list[np.ndarray]:
    """The output of the converted file for each of the inputs, after the comparison of the export."""
    import onnxruntime

    check = export(inspect_model(path), None, None, into, lambda _: None)
    assert check.opset == 7
    session = onnxruntime.InferenceSession(into, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x})[0] for x in feeds]


@pytest.mark.parametrize("shape", [("N", 3, 8, 8), ("N", 3, "H", "W"), (2, 3, 8, 8)])
@pytest.mark.parametrize(("op", "function"), [("Add", np.add), ("Mul", np.multiply), ("Div", np.divide)])
def test_an_operator_that_broadcasts_along_an_axis_keeps_it(tmp_path, shape, op, function):
    nodes = [helper.make_node(op, ["x", "c"], ["y"], axis=1, broadcast=1)]
    path = with_free_axes(tmp_path / "old.onnx", nodes, shape, c=CHANNELS)
    x = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    (found,) = upgraded_run(path, tmp_path / "new.onnx", x)
    np.testing.assert_allclose(found, function(x, CHANNELS[:, None, None]), rtol=1e-6)


def test_free_axes_stay_free(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(192, 5)).astype("f4"), "b": rng.normal(size=5).astype("f4")}
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"], axis=1, broadcast=1),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], broadcast=1),
    ]
    path = with_free_axes(tmp_path / "old.onnx", nodes, ("N", 3, 8, 8), c=CHANNELS, **weights)
    model = inspect_model(path)
    assert model.probe.worked == (1, 2, 3)
    assert model.inputs[0].shape == (None, 3, 8, 8)
    inputs = [rng.random((count, 3, 8, 8), dtype=np.float32) for count in (1, 4)]
    for x, found in zip(inputs, upgraded_run(path, tmp_path / "new.onnx", *inputs), strict=True):
        wanted = (x + CHANNELS[:, None, None]).reshape(len(x), 192) @ weights["w"] + weights["b"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_operators_whose_old_definition_infers_no_shape_are_converted_step_by_step(tmp_path):
    """BatchNormalization before opset 6; the converter needs the shape of what follows it."""
    four = {name: np.full(3, value, np.float32) for name, value in (("s", 2), ("b", 1), ("mean", 0.5), ("var", 4))}
    nodes = [
        helper.make_node("BatchNormalization", ["x", *four], ["n"], is_test=1, epsilon=0.0, consumed_inputs=[0, 0, 0, 1, 1]),
        helper.make_node("Mul", ["n", "c"], ["y"], axis=1, broadcast=1),
    ]  # fmt: skip
    path = with_free_axes(tmp_path / "old.onnx", nodes, ("N", 3, 8, 8), opset=5, c=CHANNELS, **four)
    x = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    (found,) = upgraded_run(path, tmp_path / "new.onnx", x)
    np.testing.assert_allclose(found, (x - 0.5 + 1) * CHANNELS[:, None, None], rtol=1e-5)


def test_an_old_file_that_no_library_runs_is_not_said_to_give_the_same_numbers(tmp_path):
    """ONNX Runtime has no Add of opset 6, and the reference evaluator no MaxRoiPool."""
    nodes = [
        helper.make_node("MaxRoiPool", ["x", "rois"], ["pooled"], pooled_shape=[2, 2]),
        helper.make_node("Add", ["pooled", "b"], ["y"], broadcast=1, axis=1),
    ]
    path = with_free_axes(
        tmp_path / "old.onnx",
        nodes,
        (1, 3, 8, 8),
        rois=np.array([[0, 0, 0, 5, 5]], np.float32),
        b=CHANNELS,
    )
    model = inspect_model(path)
    assert any("so the two could not be compared" in note for note in model.notes)
    check = export(model, None, None, tmp_path / "new.onnx", lambda _: None)
    said, *_ = export_notes(check)
    assert said.startswith("ONNX upgraded to opset 7 → ONNX: compared on random, ramp, impulse inputs at batches 1")


def test_an_old_file_that_was_compared_says_so(tmp_path):
    check = export(
        inspect_model(saved(tmp_path / "old.onnx", "Conv2d")), None, None, tmp_path / "new.onnx", lambda _: None
    )
    said, *_ = export_notes(check)
    assert said.startswith("ONNX opset 6 → ONNX: compared on ")
