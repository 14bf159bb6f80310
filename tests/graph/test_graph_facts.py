"""Facts of a graph, against numbers worked out by hand, and what each backend refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench import backends
from workbench.conformance.examination import Examination, described, examine, scaled
from workbench.errors import InputError
from workbench.graph.facts import COUNTED, GraphFacts, graph_facts
from workbench.graph.provenance import source_graph
from workbench.protocols import Refusal
from workbench.records import AxisRange, Model, Probe, TensorSpec, from_json, to_json

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL


def _value(name: str, shape: list, kind: int = FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def _weight(name: str, *shape: int, dtype: str = "float32"):
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def _saved(
    path: Path, nodes: list, inputs: list, outputs: list, weights: list, opset: int = 17, **domains: int
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, number) for name, number in domains.items())]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def _model(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> Model:
    return Model("", "net", "onnx", inputs, outputs, 0, 0, "")


IMAGE = TensorSpec("x", "float32", (None, 3, 8, 8))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Convolution, ReLU, pooling, flattening, fully connected."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"], transB=1),
    ]
    weights = [_weight("w", 4, 3, 3, 3), _weight("b", 4), _weight("m", 5, 4)]
    return _saved(tmp_path / "small.onnx", nodes, [_value("x", ["n", 3, 8, 8])], [_value("y", ["n", 5])], weights)


def test_a_small_net_is_counted_as_by_hand(small) -> None:
    facts = graph_facts(small, _model(IMAGE, outputs=(TensorSpec("y", "float32", (None, 5)),)))
    assert facts.ops == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1}
    assert (facts.nodes, facts.opset) == (5, 17)
    assert facts.parameters == 4 * 3 * 3 * 3 + 4 + 5 * 4
    assert facts.weight_bytes == 4 * facts.parameters
    assert facts.flops == 2 * (4 * 8 * 8 * 3 * 3 * 3) + 2 * (5 * 4)
    assert facts.flops_source == "shapes by ONNX shape inference"
    assert facts.uncounted == ("GlobalAveragePool", "Relu")
    assert facts.activation_bytes == 4 * (4 * 8 * 8) * 2  # the convolution's result and the ReLU's
    assert facts.dynamic_axes == ("input 'x' axis 0 (the batch)", "output 'y' axis 0 (the batch)")
    assert from_json(GraphFacts, json.loads(json.dumps(to_json(facts)))) == facts


def _one(
    path: Path, op: str, inputs: dict[str, tuple[int, ...]], weights: list, output: tuple[int, ...], **attributes
) -> int | None:
    names = [*inputs, *(w.name for w in weights)]
    node = helper.make_node(op, names, ["y"], **attributes)
    given = [_value(name, list(shape)) for name, shape in inputs.items()]
    saved = _saved(path / f"{op}.onnx", [node], given, [_value("y", list(output))], weights)
    specs = [TensorSpec(name, "float32", shape, None) for name, shape in inputs.items()]
    return graph_facts(saved, _model(*specs)).flops


def test_each_formula_against_a_hand_count(tmp_path) -> None:
    assert (
        _one(tmp_path, "Conv", {"x": (1, 8, 6, 6)}, [_weight("w", 8, 1, 3, 3)], (1, 8, 4, 4), group=8) == 2 * 8 * 16 * 9
    )
    transposed = _one(tmp_path, "ConvTranspose", {"x": (1, 2, 5, 5)}, [_weight("w", 2, 3, 4, 4)], (1, 3, 8, 8))
    assert transposed == 2 * 25 * 2 * 3 * 16
    assert _one(tmp_path, "MatMul", {"a": (2, 3, 4), "b": (2, 4, 5)}, [], (2, 3, 5)) == 2 * 2 * 3 * 4 * 5
    assert _one(tmp_path, "Gemm", {"a": (4, 3)}, [_weight("w", 4, 5)], (3, 5), transA=1) == 2 * 3 * 4 * 5
    lstm = [_weight("w", 1, 4 * 6, 3), _weight("r", 1, 4 * 6, 6)]
    assert _one(tmp_path, "LSTM", {"x": (7, 1, 3)}, lstm, (7, 1, 1, 6), hidden_size=6) == 2 * 7 * (24 * 3 + 24 * 6)
    assert _one(tmp_path, "Einsum", {"a": (2, 3), "b": (3, 4)}, [], (2, 4), equation="ij,jk->ik") == 2 * 2 * 3 * 4


def test_free_axes_are_taken_at_their_usual_size(tmp_path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = _saved(
        tmp_path / "m.onnx", nodes, [_value("x", ["n", "t", 4])], [_value("y", ["n", "t", 5])], [_weight("w", 4, 5)]
    )
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, None, 4), ranges=(AxisRange(1, 2, 10, 50),))))
    assert facts.flops == 2 * 10 * 4 * 5
    assert facts.dynamic_axes[1] == "input 'x' axis 1 (free, used at 2 to 50)"


def test_weights_kept_as_quantized_constants_are_weights(tmp_path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["q"], value=_weight("", 40, 5, dtype="int8")),
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    path = _saved(tmp_path / "q.onnx", nodes, [_value("x", ["n", 40])], [_value("y", ["n", 5])], [_weight("s")])
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, 40))))
    assert "Constant" not in facts.ops
    assert (facts.parameters, facts.weight_bytes) == (40 * 5 + 1, 40 * 5 + 4)
    assert facts.flops == 2 * 40 * 5
    assert facts.activation_bytes == 4 * (40 + 5)


def _branch(width: int):
    node = helper.make_node("MatMul", ["x", f"w{width}"], ["r"], name=f"b{width}")
    last = helper.make_node("ReduceSum", ["r"], ["z"], keepdims=0)
    return helper.make_graph([node, last], f"g{width}", [], [_value("z", [])])


def test_of_an_if_the_costlier_branch_counts(tmp_path) -> None:
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=_branch(5), else_branch=_branch(9))]
    inputs = [_value("x", ["n", 4]), _value("c", [], BOOL)]
    path = _saved(tmp_path / "if.onnx", nodes, inputs, [_value("y", [])], [_weight("w5", 4, 5), _weight("w9", 4, 9)])
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, 4)), TensorSpec("c", "bool", (), None)))
    assert facts.ops == {"MatMul": 2, "ReduceSum": 2, "If": 1}
    assert facts.flops == 2 * 4 * 9
    assert "costlier branch" in facts.flops_source


def test_a_loop_is_counted_by_running_it(tmp_path) -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("Identity", ["on"], ["go"])],
        "body", [_value("i", [], INT64), _value("on", [], BOOL), _value("a", None)], [_value("go", [], BOOL), _value("b", None)],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["three", "", "x"], ["y"], body=body)]
    weights = [_weight("w", 4, 4), numpy_helper.from_array(np.int64(3), "three")]
    path = _saved(tmp_path / "loop.onnx", nodes, [_value("x", ["n", 4])], [_value("y", ["n", 4])], weights)
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, 4))))
    assert facts.flops == 3 * 2 * 4 * 4
    assert facts.flops_source == "shapes seen while ONNX Runtime ran one sample of generated inputs"


def test_weights_that_a_kernel_packed_are_counted(tmp_path) -> None:
    """ONNX Runtime's profile leaves the packed weights of a ConvTranspose out of its inputs; the loop makes a run necessary."""
    body = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("Identity", ["on"], ["go"])],
        "body", [_value("i", [], INT64), _value("on", [], BOOL), _value("a", None)], [_value("go", [], BOOL), _value("b", None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("ConvTranspose", ["x", "t"], ["c"]),
        helper.make_node("Loop", ["three", "", "c"], ["y"], body=body),
    ]
    weights = [_weight("t", 2, 3, 1, 2), _weight("w", 4, 4), numpy_helper.from_array(np.int64(3), "three")]
    outputs = [_value("y", ["n", 3, 1, 4])]
    path = _saved(tmp_path / "transposed.onnx", nodes, [_value("x", ["n", 2, 1, 3])], outputs, weights)
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, 2, 1, 3))))
    assert facts.flops == 2 * (2 * 3) * (3 * 2) + 3 * 2 * (3 * 4) * 4


@pytest.mark.parametrize("loop", [False, True], ids=["inferred", "seen in a run"])
def test_the_operations_of_a_fixed_batch_are_reported_for_one_sample(tmp_path, loop: bool) -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("Identity", ["on"], ["go"])],
        "body", [_value("i", [], INT64), _value("on", [], BOOL), _value("a", None)], [_value("go", [], BOOL), _value("b", None)],
    )  # fmt: skip
    looped = helper.make_node("Loop", ["three", "", "x"], ["y"], body=body)
    nodes = [looped] if loop else [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = [_weight("w", 4, 4), numpy_helper.from_array(np.int64(3), "three")]
    path = _saved(tmp_path / "fixed.onnx", nodes, [_value("x", [8, 4])], [_value("y", [8, 4])], weights)
    fixed = TensorSpec("x", "float32", (8, 4))
    facts = graph_facts(path, _model(fixed))
    times = 3 if loop else 1
    assert facts.flops == times * 2 * 4 * 4
    assert facts.batch == 8
    lines = dict(described(Examination(facts)))
    assert f"{times * 32} FLOPs for one sample, a multiply-add counted as two" in lines["Work"]
    if not loop:
        assert facts.activation_bytes == 8 * 2 * 4 * 4  # input and output of the whole batch
        assert "at most for a batch of 8" in lines["Memory"][1]
        assert [node.flops for node in source_graph(path, (fixed,)).nodes] == [32]


def test_a_graph_that_does_not_run_with_one_sample_is_counted_at_a_batch_at_which_it_runs(tmp_path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "to"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    weights = [_weight("w", 4, 3), numpy_helper.from_array(np.array([8, 4], np.int64), "to")]
    path = _saved(tmp_path / "eight.onnx", nodes, [_value("x", ["n", 4])], [_value("y", ["n", 3])], weights)
    model = replace(
        _model(TensorSpec("x", "float32", (None, 4))), probe=Probe(worked=(8,), failed=((1, "no"), (2, "no")))
    )
    facts = graph_facts(path, model)
    assert (facts.flops, facts.batch, facts.activation_bytes) == (2 * 4 * 3, 8, 8 * 4 * (4 + 3))
    assert "at most for a batch of 8" in dict(described(Examination(facts)))["Memory"][1]
    # by layer too: at one sample the shapes contradict each other
    assert [node.flops for node in source_graph(path, model.inputs, 8).nodes] == [None, 2 * 4 * 3]


def test_an_unexpected_error_while_counting_is_reported_with_its_kind(tmp_path, monkeypatch) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = _saved(tmp_path / "m.onnx", nodes, [_value("x", ["n", 4])], [_value("y", ["n", 4])], [_weight("w", 4, 4)])
    monkeypatch.setitem(COUNTED, "MatMul", lambda *_: tuple[int, ...]().index(1))
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (None, 4))))
    assert facts.flops is None
    assert "ValueError: " in facts.flops_source


def test_what_cannot_be_counted_says_why(tmp_path) -> None:
    nodes = [helper.make_node("Blur", ["x"], ["b"], domain="my"), helper.make_node("MatMul", ["b", "w"], ["y"])]
    path = _saved(tmp_path / "b.onnx", nodes, [_value("x", [1, 4])], [_value("y", [1, 5])], [_weight("w", 4, 5)], my=1)
    facts = graph_facts(path, _model(TensorSpec("x", "float32", (1, 4))))
    assert facts.flops is None
    assert "the shape of 'b' is not known" in facts.flops_source
    assert facts.activation_bytes is None
    assert facts.uncounted == ("my.Blur",)


def test_a_file_that_is_not_onnx_is_refused(tmp_path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    with pytest.raises(InputError, match=r"'x\.onnx' cannot be read as ONNX"):
        graph_facts(tmp_path / "x.onnx", _model(IMAGE))


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Blur", ["a"], ["y"], "blur_1", domain="my"),
    ]
    return _saved(tmp_path / "custom.onnx", nodes, [_value("x", [1, 3, 8, 8])], [_value("y", [1, 3, 8, 8])], [], my=1)


@pytest.fixture
def determinant(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="fine"), helper.make_node("Det", ["a"], ["y"], name="det_1")]
    return _saved(tmp_path / "det.onnx", nodes, [_value("x", [1, 3, 3])], [_value("y", [1])], [])


def _asked(name: str, path: Path) -> tuple[Refusal, ...]:
    backend = backends.get(name)
    states = [backend.status(mode) for mode in backend.modes]
    if not any(states):
        pytest.skip(states[0].reason)
    return backend.preflight(path)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tensorrt"])
def test_a_custom_operator_is_named_by_node_and_operator(name, custom) -> None:
    (refusal,) = _asked(name, custom)
    assert refusal.node == "blur_1"
    assert refusal.op.split(".")[-1] == "Blur"
    assert len(refusal.reason) > 20


@pytest.mark.parametrize("name", ["openvino", "tensorrt"])
def test_an_operator_that_one_library_lacks_is_named(name, determinant) -> None:
    assert [(r.node, r.op) for r in _asked(name, determinant)] == [("det_1", "Det")]
    assert _asked("onnxruntime", determinant) == ()


def test_a_kernel_missing_for_a_type_is_named(tmp_path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv_1")]
    kind = onnx.TensorProto.DOUBLE
    shapes = _value("x", [1, 1, 4, 4], kind), _value("y", [1, 1, 2, 2], kind)
    path = _saved(tmp_path / "t.onnx", nodes, [shapes[0]], [shapes[1]], [_weight("w", 1, 1, 3, 3, dtype="float64")])
    reason = "ONNX Runtime has no CPU kernel for it with these types"
    assert _asked("onnxruntime", path) == (Refusal("conv_1", "Conv", reason),)


def test_a_file_that_breaks_the_rules_is_refused_without_its_place(tmp_path) -> None:
    nodes = [helper.make_node("Softplus", ["x"], ["y"], name="soft")]
    kind = onnx.TensorProto.INT16
    path = _saved(tmp_path / "t.onnx", nodes, [_value("x", [3], kind)], [_value("y", [3], kind)], [])
    (refusal,) = _asked("onnxruntime", path)
    assert (refusal.node, refusal.op) == ("soft", "Softplus")
    assert str(tmp_path) not in refusal.reason


@pytest.mark.parametrize("name", ["tensorflow", "onnxruntime", "openvino", "tensorrt"])
def test_an_ordinary_net_is_refused_by_none(name, small) -> None:
    assert _asked(name, small) == ()


def test_an_examination_holds_all_of_it_and_travels_as_json(custom) -> None:
    steps: list[str] = []
    found = examine(custom, _model(TensorSpec("x", "float32", (1, 3, 8, 8))), steps.append)
    assert steps[:2] == ["count operators", "draw graph"]
    assert found.facts is not None
    assert found.facts.ops == {"Relu": 1, "my.Blur": 1}
    assert "my.Blur" in found.svg
    assert "tensorflow" not in found.refusals  # it runs the model as it was saved
    assert [r.node for r in found.refusals["onnxruntime"]] == ["blur_1"]
    assert from_json(Examination, json.loads(json.dumps(to_json(found)))) == found


def test_an_examination_of_nonsense_gives_reasons_instead_of_raising(tmp_path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    found = examine(tmp_path / "x.onnx", _model(IMAGE), lambda _: None)
    assert found.facts is None
    assert found.problems[0].startswith("The graph could not be counted: 'x.onnx' cannot be read as ONNX")


def test_what_was_found_in_words(small, custom) -> None:
    reported = dict(described(examine(small, _model(IMAGE), lambda _: None)))
    assert reported["Operators"] == ("5 nodes, opset 17: Conv 1, Flatten 1, Gemm 1, GlobalAveragePool 1, Relu 1",)
    assert reported["Work"] == (
        "13.9 kFLOPs for one sample, a multiply-add counted as two",
        "shapes by ONNX shape inference",
        "not counted: GlobalAveragePool, Relu",
    )
    assert reported["Memory"][0] == "weights 528 B as stored"
    assert reported["Dynamic axes"] == ("input 'x' axis 0 (the batch)",)
    assert reported["ONNX Runtime"] == ("supports every node",)
    assert "TensorFlow" not in reported
    refused = dict(described(examine(custom, _model(TensorSpec("x", "float32", (1, 3, 8, 8))), lambda _: None)))
    assert refused["ONNX Runtime"] == ("my.Blur 'blur_1': ONNX Runtime has no CPU kernel for it",)


def test_numbers_get_a_prefix() -> None:
    assert [scaled(n) for n in (7, 13_864, 2_500_000, 7_715_946_496)] == ["7 ", "13.9 k", "2.5 M", "7.72 G"]
