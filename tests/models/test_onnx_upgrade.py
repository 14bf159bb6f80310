"""Files of opsets below 7: brought to 7 and compared with the file as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.conformance.cases import case_of
from workbench.errors import ExportError, InputError
from workbench.export.convert import export
from workbench.models.inspection import inspect_model
from workbench.models.onnx_file import load_onnx
from workbench.models.onnx_upgrade import opset_of


def saved(path: Path, name: str) -> Path:
    """A case of ONNX's own as a file."""
    path.write_bytes(case_of(name).model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("name", "by"),
    [("Conv2d", "ONNX Runtime"), ("BatchNorm2d_eval", "ONNX's reference evaluator")],
)
def test_an_old_file_is_upgraded_and_compared(tmp_path, name, by):
    model = inspect_model(saved(tmp_path / "old.onnx", name))
    assert model.probe.worked
    (note,) = model.notes
    assert note == (
        f"The file is of ONNX opset 6; ONNX's converter brings it to 7, and exporting compares it with the file as it is, run by {by}"
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
        InputError, match=r"uses ONNX opset 1, engines begin at 7, and ONNX's converter does not bring it there: .*"
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
