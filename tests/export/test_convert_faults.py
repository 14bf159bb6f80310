"""Wrong conversions are refused or replaced by the next route, and failures leave nothing."""

from __future__ import annotations

from pathlib import Path

import model_zoo
import numpy as np
import onnx
import pytest
from converting import convert, convert_model, left_over, shapes

from workbench.errors import ExportError, InputError, StoreError
from workbench.export.convert import export, saved_model_of
from workbench.models.inspection import inspect_model
from workbench.records import Model


def corrupt(proto: onnx.ModelProto, op: str) -> str:
    """Change the weights of the second layer of this kind; its name."""
    from onnx import numpy_helper

    node = [node for node in proto.graph.node if node.op_type == op][1]
    tensor = next(t for t in proto.graph.initializer if t.name == node.input[1])
    changed = numpy_helper.to_array(tensor) * 1.05
    tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    return node.name


def shift(proto: onnx.ModelProto) -> None:
    """Roll the first input by one step along its third axis."""
    from onnx import helper, numpy_helper

    name = proto.graph.input[0].name
    for node in proto.graph.node:
        node.input[:] = ["rolled" if each == name else each for each in node.input]
    bounds = {"head": [0], "one": [1], "end": [2**31], "axis": [2]}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in bounds.items())
    proto.graph.node.insert(0, helper.make_node("Slice", [name, "one", "end", "axis"], ["later"], name="later"))
    proto.graph.node.insert(1, helper.make_node("Slice", [name, "head", "one", "axis"], ["first"], name="first"))
    proto.graph.node.insert(2, helper.make_node("Concat", ["later", "first"], ["rolled"], axis=2, name="roll"))


@pytest.mark.parametrize("fault", ["weights", "shift"])
def test_a_wrong_conversion_is_refused_and_the_first_wrong_node_named(tmp_path, demo_folder, monkeypatch, fault):
    """A converter that does its work and then something else: only the comparison can tell."""
    from workbench.export import routes

    model = inspect_model(demo_folder / "saved_model")
    named: list[str] = []

    def faulty(origin: routes.Origin, into: Path) -> dict[str, str]:
        known = routes.saved_model_tf2onnx(origin, into)
        proto = onnx.load(into)
        named.append(corrupt(proto, "Conv") if fault == "weights" else shift(proto) or "")
        onnx.save(proto, into)
        return known

    monkeypatch.setitem(routes.ROUTES, "saved_model", (routes.Route("SavedModel → ONNX (faulty)", faulty),))
    with pytest.raises(ExportError, match="does not compute what the model computes") as error:
        convert_model(model, tmp_path / "demo.onnx")
    if fault == "weights":
        assert "The first inner value that differs is that of the node" in error.value.message
    assert left_over(tmp_path) == []


@pytest.mark.long
def test_a_route_that_disagrees_gives_way_to_the_next(tmp_path, demo_folder, monkeypatch):
    from workbench.export import routes

    def faulty(origin: routes.Origin, into: Path) -> dict[str, str]:
        known = routes.saved_model_tf2onnx(origin, into)
        proto = onnx.load(into)
        corrupt(proto, "Conv")
        onnx.save(proto, into)
        return known

    ways = (routes.Route("the faulty way", faulty), routes.Route("frozen graph → ONNX (tf2onnx)", routes.frozen_graph))
    monkeypatch.setitem(routes.ROUTES, "saved_model", ways)
    check = convert(demo_folder / "saved_model", tmp_path / "demo.onnx")
    assert check.route == "frozen graph → ONNX (tf2onnx)"
    assert [(each.route, "does not compute" in each.reason) for each in check.attempts] == [("the faulty way", True)]
    assert check.max_rel_diff < 1e-5


def test_whatever_a_library_raises_costs_one_route_only(tmp_path, demo_folder, monkeypatch):
    from workbench.export import routes

    def failing(_origin, _into):
        raise KeyError("unexpected")

    ways = (routes.Route("the failing way", failing), routes.ROUTES["saved_model"][1])
    monkeypatch.setitem(routes.ROUTES, "saved_model", ways)
    check = convert(demo_folder / "saved_model", tmp_path / "demo.onnx")
    assert check.route == "frozen graph → ONNX (tf2onnx)"
    assert check.attempts[0].reason.startswith("KeyError: 'unexpected'")


@pytest.mark.long
@pytest.mark.parametrize("way", ["keras_tf2onnx", "saved_model_tf2onnx", "frozen_graph", "through_tflite"])
def test_every_route_converts_the_demo(tmp_path, demo_folder, monkeypatch, way):
    from workbench.export import routes

    between = "tflite" if way == "through_tflite" else ""
    monkeypatch.setitem(routes.ROUTES, "keras", (routes.Route(way, getattr(routes, way), between),))
    model = inspect_model(demo_folder / "demo.keras")
    check = export(model, demo_folder / "saved_model", None, tmp_path / "demo.onnx", lambda _: None)
    assert len(check.hops) == (2 if between else 1)
    assert check.max_rel_diff < 1e-5
    assert shapes(tmp_path / "demo.onnx") == {"image": ["batch", 28, 28, 1], "output_0": ["batch", 10]}


def test_a_failed_keras_export_leaves_no_folder(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"junk")
    with pytest.raises(InputError):
        saved_model_of(Model(str(path), "broken", "keras", (), (), 0, 0, ""), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, demo_folder):
    (tmp_path / "file").write_text("x")
    model = inspect_model(model_zoo.save(model_zoo.onnx_dense(), tmp_path / "dense.onnx"))
    with pytest.raises(StoreError, match="Could not write to"):
        export(model, None, None, tmp_path / "file" / "model.onnx", lambda _: None)
