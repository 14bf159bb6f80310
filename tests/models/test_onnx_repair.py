"""Repairs of ONNX graphs: each changes the file's form and not its numbers."""

from __future__ import annotations

import model_zoo
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench.errors import ExportError
from workbench.export.agreement import compare
from workbench.models import onnx_repair

X = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)


def outputs(model, tmp_path):
    return model_zoo.run_onnx(model_zoo.save(model, tmp_path / "m.onnx"), {"x": X})["y"]


def branching() -> onnx.ModelProto:
    """An If whose branches hold their weights as constants of several kinds."""

    def branch(name: str, **value) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Constant", [], [f"c{name}"], **value),
            helper.make_node("Mul", ["x", f"c{name}"], [f"o{name}"]),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"o{name}", 1, None)])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["y"],
            then_branch=branch("a", value_float=2.0),
            else_branch=branch("b", value_floats=[1.0, 2.0, 3.0, 4.0]),
        ),
    ]
    return model_zoo.onnx_model(nodes, outputs={"y": ("n", 4)})


def test_constants_are_lifted_also_in_branches(tmp_path):
    model = branching()
    before = outputs(model, tmp_path)
    assert onnx_repair.lift_constants(model) == "3 constants lifted to initializers"
    inner = [a.g for node in model.graph.node for a in node.attribute if a.name.endswith("branch")]
    assert [len(graph.initializer) for graph in inner] == [1, 1]
    np.testing.assert_array_equal(outputs(model, tmp_path), before)
    assert onnx_repair.lift_constants(model) == ""


def test_unsorted_nodes_are_put_into_order(tmp_path):
    model = branching()
    before = outputs(model, tmp_path)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend([onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes])
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    assert "put into order" in onnx_repair.sort_nodes(model)
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(outputs(model, tmp_path), before)


def test_a_circle_is_refused_by_name():
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"], name="two")]
    with pytest.raises(ExportError, match="has a cycle that includes the node 'one'"):
        onnx_repair.sort_nodes(model_zoo.onnx_model(nodes))


def test_sizes_are_overridden_and_free_again(tmp_path):
    weight = np.ones((4, 3), np.float32)
    model = model_zoo.onnx_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight}, inputs={"x": (1, 4)}, outputs={"y": (1, 3)}
    )
    assert onnx_repair.override_shapes(model, {"x": (None, 4)}) == "sizes of x overridden as requested"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert outputs(model, tmp_path).shape == (5, 3)


@pytest.mark.parametrize("opset", [7, 9, 12])
def test_old_opsets_are_raised(tmp_path, opset):
    model = model_zoo.onnx_dense(opset=opset)
    before = outputs(model, tmp_path)
    raised = onnx_repair.raise_opset(model, 17)
    assert raised.opset_import[0].version == 17
    np.testing.assert_allclose(outputs(raised, tmp_path), before, rtol=1e-6)


def test_weights_listed_as_inputs_are_taken_out(tmp_path):
    model = model_zoo.onnx_dense()
    model.graph.input.append(helper.make_tensor_value_info("w", 1, (4, 3)))
    model.ir_version = 3
    assert onnx_repair.repair(model) == ("1 weights removed from the inputs",)
    assert ([v.name for v in model.graph.input], model.ir_version) == (["x"], 4)


def test_agreement_sees_a_shift_on_a_large_constant():
    wave = np.sin(np.linspace(0, 6, 64, dtype=np.float32))[None]
    noise = np.random.default_rng(0).standard_normal(wave.shape).astype(np.float32) * 1e-6
    assert compare({"y": wave}, {"y": wave + noise}).of_spread < 1e-4
    assert compare({"y": wave}, {"y": np.roll(wave, 1, 1)}).max_rel > 1e-3
    hidden = compare({"y": 100 + wave}, {"y": 100 + np.roll(wave, 1, 1)})
    assert hidden.max_rel < 3e-3
    assert hidden.of_spread > 0.03
    flat = np.full((1, 8), 0.001, np.float32)
    assert compare({"y": flat}, {"y": flat * (1 + 1e-7)}).of_spread == 0
    with pytest.raises(ExportError, match=r"The output 'y' is \[8, 1\] in the conversion and \[1, 8\] in the model"):
        compare({"y": flat}, {"y": flat.T})


def test_divergence_names_the_first_wrong_node(tmp_path):
    from workbench.export.divergence import first_divergence, onnx_values

    weights = {f"w{i}": np.random.default_rng(i).standard_normal((4, 4)).astype(np.float32) for i in range(3)}
    nodes = [
        helper.make_node("MatMul", [("x", "a", "b")[i], f"w{i}"], [("a", "b", "y")[i]], name=f"layer{i}")
        for i in range(3)
    ]
    right = model_zoo.onnx_model(nodes, weights, outputs={"y": ("n", 4)})
    wrong = onnx.ModelProto.FromString(right.SerializeToString())
    tensor = next(t for t in wrong.graph.initializer if t.name == "w1")
    tensor.CopyFrom(numpy_helper.from_array(weights["w1"] * 1.1, "w1"))
    values, known = onnx_values(model_zoo.save(right, tmp_path / "right.onnx"))
    found = first_divergence(values, known, model_zoo.save(wrong, tmp_path / "wrong.onnx"), {"x": X}, 1e-3)
    assert found is not None
    assert (found.node, found.op) == ("layer1", "MatMul")
    assert first_divergence(values, known, tmp_path / "right.onnx", {"x": X}, 1e-3) is None


def test_constants_that_are_outputs_stay(tmp_path):
    nodes = [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])]
    model = model_zoo.onnx_model(nodes, outputs={"y": (2,)})
    assert onnx_repair.lift_constants(model) == ""
    np.testing.assert_array_equal(outputs(model, tmp_path), [1, 2])


def test_sorted_graphs_stay_and_others_change_as_little_as_can_be():
    def names(*edges: tuple[str, str]) -> list[str]:
        nodes = [helper.make_node("Relu", [read], [made], name=made) for read, made in edges]
        model = model_zoo.onnx_model(nodes)
        onnx_repair.sort_nodes(model)
        return [node.name for node in model.graph.node]

    assert names(("x", "c"), ("x", "a"), ("x", "b"), ("a", "y")) == ["c", "a", "b", "y"]
    assert names(("a", "y"), ("x", "c"), ("x", "a"), ("x", "b")) == ["c", "a", "y", "b"]


def test_a_name_used_again_outside_a_branch_is_not_a_circle(tmp_path):
    """Exporters number the names in every branch from the beginning; a name of a branch neither hides others nor is visible outside."""

    def branch(name: str, op: str) -> onnx.GraphProto:
        nodes = [helper.make_node(op, ["x"], ["t"]), helper.make_node("Identity", ["t"], [f"o{name}"])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"o{name}", 1, None)])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["p"], to=9),
        helper.make_node("If", ["p"], ["i"], then_branch=branch("a", "Sin"), else_branch=branch("b", "Cos")),
        helper.make_node("Neg", ["i"], ["t"]),
        helper.make_node("Exp", ["t"], ["y"]),
    ]
    model = model_zoo.onnx_model(nodes, outputs={"y": ("n", 4)})
    before = outputs(model, tmp_path)
    assert onnx_repair.sort_nodes(model) == ""
    np.testing.assert_array_equal(outputs(model, tmp_path), before)


def test_a_circle_is_named_not_what_only_reads_from_it():
    edges = [("b", "late"), ("b", "a"), ("a", "b")]
    nodes = [helper.make_node("Relu", [read], [made]) for read, made in edges]
    with pytest.raises(ExportError, match="has a cycle that includes the node 'a'"):
        onnx_repair.sort_nodes(model_zoo.onnx_model(nodes))


def test_nodes_get_names_of_their_own_and_keep_those_they_have():
    nodes = [
        helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"], name=name) for i, name in enumerate(["", "Relu_0", "Relu_0"])
    ]
    model = model_zoo.onnx_model(nodes)
    onnx_repair.name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert names[1] == "Relu_0"
    assert len({*names, ""}) == 4


def test_overridden_sizes_are_inferred_through_the_graph(tmp_path):
    weight = np.ones((4, 3), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    model = model_zoo.onnx_model(nodes, {"w": weight}, inputs={"x": (1, 4)}, outputs={"y": (1, 3)})
    model.graph.value_info.append(helper.make_tensor_value_info("t", 1, (1, 3)))
    onnx_repair.override_shapes(model, {"x": (5, 4)})
    sizes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.value_info, *model.graph.output)
    ]
    assert sizes == [[5, 3], [5, 3]]
    onnx.checker.check_model(model)
    assert outputs(model, tmp_path).shape == (5, 3)


def test_sizes_that_fit_no_input_are_refused():
    model = model_zoo.onnx_dense()
    with pytest.raises(ExportError, match="given for 'z', but the model's inputs are: x"):
        onnx_repair.override_shapes(model, {"z": (1,)})
    with pytest.raises(ExportError, match="'x' has 2 axes, but 3 sizes were given"):
        onnx_repair.override_shapes(model, {"x": (1, 2, 3)})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resizing_means_the_same_in_a_newer_opset(tmp_path, mode):
    scales = np.array([1, 1.7], np.float32)
    for op, opset in (("Upsample", 9), ("Resize", 10)):
        nodes = [helper.make_node(op, ["x", "s"], ["y"], mode=mode)]
        model = model_zoo.onnx_model(nodes, {"s": scales}, outputs={"y": ("n", "m")}, opset=opset)
        raised = onnx_repair.raise_opset(model, 17)
        np.testing.assert_allclose(outputs(raised, tmp_path), outputs(model, tmp_path), rtol=1e-5, atol=1e-6)


def test_an_operation_that_changed_its_meaning_is_refused_by_name():
    model = model_zoo.onnx_model([helper.make_node("Hardmax", ["x"], ["y"])], outputs={"y": ("n", 4)}, opset=11)
    with pytest.raises(ExportError, match="from opset 11 to 17: Hardmax has another meaning there"):
        onnx_repair.raise_opset(model, 17)
    assert onnx_repair.raise_opset(model, 12).opset_import[0].version == 12


def test_an_operation_unknown_to_the_newer_opset_is_refused_by_name():
    nodes = [helper.make_node("Mystery", ["x"], ["y"])]
    with pytest.raises(ExportError, match="from opset 7 to 17, because of its Mystery"):
        onnx_repair.raise_opset(model_zoo.onnx_model(nodes, outputs={"y": ("n", 4)}, opset=7), 17)


def test_opsets_are_not_lowered_and_unknown_ones_are_refused():
    model = model_zoo.onnx_dense(opset=17)
    assert onnx_repair.raise_opset(model, 13) is model
    with pytest.raises(ExportError, match="has opset 17 and needs opset 99"):
        onnx_repair.raise_opset(model, 99)
    with pytest.raises(ExportError, match="has opset 6 and needs opset 17; the converter supports 7"):
        onnx_repair.raise_opset(model_zoo.onnx_dense(opset=6), 17)


def test_functions_are_written_out_also_inside_branches_and_functions(tmp_path):
    """One that calls another, which a branch calls too."""
    model = branching()
    ids = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    call = helper.make_node("Inner", ["a"], ["b"], domain="own")
    model.functions.extend(
        [
            helper.make_function("own", "Outer", ["a"], ["c"], [call, helper.make_node("Neg", ["b"], ["c"])], ids),
            helper.make_function("own", "Inner", ["a"], ["b"], [helper.make_node("Exp", ["a"], ["b"])], ids),
        ]
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    branch = next(a.g for node in model.graph.node if node.op_type == "If" for a in node.attribute)
    branch.node[-1].output[0] = "before"
    name = branch.output[0].name
    branch.node.append(helper.make_node("Outer", ["before"], [name], domain="own"))
    before = outputs(model, tmp_path)
    assert onnx_repair.inline_functions(model) == "1 calls of functions inside the file inlined"
    assert not model.functions
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(outputs(model, tmp_path), before)
    assert onnx_repair.inline_functions(model) == ""


def test_raising_the_opset_leaves_the_functions_of_its_source():
    model = model_zoo.onnx_function([helper.make_node("Softplus", ["x"], ["y"])])
    raised = onnx_repair.raise_opset(model, 22)
    assert [node.op_type for node in raised.graph.node] == ["Softplus"]
    assert len(model.functions) == 1
