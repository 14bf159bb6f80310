"""Inputs and outputs of OpenVINO by position: names that it loses do not matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_onnx import saved, source, weights

from workbench.backends.openvino.backend import BACKEND
from workbench.errors import BuildError, RunError
from workbench.models.openvino_tensors import FILE, Names
from workbench.records import EngineRecord, EngineSpec, Precision, RealizedPrecision

openvino = pytest.importorskip("openvino")
FLOAT = TensorProto.FLOAT
SHAPE = (None, 3)
SPEC = EngineSpec("openvino", Precision.FP32)
RECORD = EngineRecord(SPEC, "", "OpenVINO", "", RealizedPrecision({}, ""), 0, 0.0)
A = np.float32([[1, -2, 3]])
B = np.float32([[5, 6, -7]])


def built(tmp_path, nodes, inputs, outputs, initializers=()):
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        [(n, FLOAT, SHAPE) for n in inputs],
        [(n, FLOAT, SHAPE) for n in outputs],
        initializers,
    )
    folder = tmp_path / "engine"
    folder.mkdir()
    BACKEND.build(source(path, *((name, FLOAT, SHAPE) for name in inputs)), SPEC, folder, lambda _: None)
    return folder


MODELS = {
    "dropout": ([helper.make_node("Dropout", ["a"], ["y"])], ["a"], ["y"], lambda a, b: [a]),
    "one of several": ([helper.make_node("Max", ["b"], ["y"])], ["a", "b"], ["y"], lambda a, b: [b]),
    "unused": ([helper.make_node("Relu", ["b"], ["y"])], ["a", "b"], ["y"], lambda a, b: [np.maximum(b, 0)]),
    "input twice": (
        [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Sum", ["a"], ["z"])],
        ["a"],
        ["z", "y"],
        lambda a, b: [a, a],
    ),
    "crossed": (
        [helper.make_node("Dropout", ["a"], ["z"]), helper.make_node("Dropout", ["b"], ["y"])],
        ["a", "b"],
        ["y", "z"],
        lambda a, b: [b, a],
    ),
    "einsum": (
        [helper.make_node("Einsum", ["a"], ["y"], equation="ij->ij"), helper.make_node("Neg", ["b"], ["z"])],
        ["b", "a"],
        ["z", "y"],
        lambda a, b: [-b, a],
    ),
}  # fmt: skip
"""Nodes, inputs, outputs, and the outputs as they should be."""


@pytest.mark.parametrize("name", MODELS)
def test_every_way_in_goes_by_position(tmp_path, name):
    nodes, inputs, outputs, expected = MODELS[name]
    folder = built(tmp_path, nodes, inputs, outputs)
    assert json.loads((folder / FILE).read_text(encoding="utf-8")) == {"inputs": inputs, "outputs": outputs}
    with BACKEND.open(folder, RECORD) as session:
        for factor in (1, 2):
            feeds = {
                name: np.repeat(array * factor, factor, axis=0)
                for name, array in (("a", A), ("b", B))
                if name in inputs
            }
            wanted = dict(zip(outputs, expected(feeds.get("a"), feeds.get("b")), strict=True))
            found = session.run(feeds)
            assert list(found) == outputs
            for output, array in wanted.items():
                np.testing.assert_array_equal(found[output], array)
            session.stage(feeds)()
            session.library_call(feeds)[0]()
            np.testing.assert_array_equal(session.callers(2).each[1].run(feeds)[outputs[0]], wanted[outputs[0]])
    with BACKEND.profiled(folder, RECORD) as profiled:
        profiled.stage(feeds)()


def test_the_staged_call_computes_on_its_own_inputs(tmp_path):
    nodes, inputs, outputs, _ = MODELS["crossed"]
    folder = built(tmp_path, nodes, inputs, outputs)
    with BACKEND.open(folder, RECORD) as session:
        call = session.stage({"b": B, "a": A})
        session.run({"a": np.zeros_like(A), "b": np.zeros_like(B)})
        first, second = (array.copy() for array in call().values())
    np.testing.assert_array_equal(first, B)
    np.testing.assert_array_equal(second, A)


def test_weights_listed_among_the_inputs_take_no_position(tmp_path):
    nodes = [helper.make_node("Add", ["b", "w"], ["y"])]
    folder = built(tmp_path, nodes, ["w", "b"], ["y"], [weights("w", (1, 3))])
    assert json.loads((folder / FILE).read_text(encoding="utf-8"))["inputs"] == ["b"]
    with BACKEND.open(folder, RECORD) as session:
        assert session.run({"b": B})["y"].shape == (1, 3)


def test_an_unknown_input_is_named(tmp_path):
    nodes, inputs, outputs, _ = MODELS["dropout"]
    folder = built(tmp_path, nodes, inputs, outputs)
    with BACKEND.open(folder, RECORD) as session, pytest.raises(RunError, match=r"has no input 'q'\. It has: a"):
        session.run({"q": A})


def test_an_engine_of_an_earlier_version_has_openvinos_names(tmp_path):
    folder = built(tmp_path, [helper.make_node("Relu", ["a"], ["y"])], ["a"], ["y"])
    (folder / FILE).unlink()
    with BACKEND.open(folder, RECORD) as session:
        np.testing.assert_array_equal(session.run({"a": A})["y"], np.maximum(A, 0))


def test_another_number_of_inputs_is_refused(tmp_path):
    path = saved(
        tmp_path / "m.onnx", [helper.make_node("Relu", ["a"], ["y"])], [("a", FLOAT, SHAPE)], [("y", FLOAT, SHAPE)]
    )
    other = saved(
        tmp_path / "o.onnx",
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [("a", FLOAT, SHAPE), ("b", FLOAT, SHAPE)],
        [("y", FLOAT, SHAPE)],
    )
    with pytest.raises(BuildError, match="The model has the inputs a, but OpenVINO has 2 of them"):
        Names.of_onnx(path, openvino.Core().read_model(str(other)))
