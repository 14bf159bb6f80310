"""Which properties tell wrong cases from right ones, and which nodes of a model have them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.conformance.deviations import Deviation, OperatorCase, Use, deviations_of, uses_of
from workbench.graph.shapes import Shapes, inferred


def seen(
    case: str, *properties: str, wrong: bool = False, difference: float | None = None, op: str = "Op"
) -> OperatorCase:
    return OperatorCase(case, Use("", op, 1, properties), wrong, difference)


def reported(*cases: OperatorCase) -> list[tuple[str, tuple[str, ...]]]:
    return [(deviation.description, deviation.cases) for deviation in deviations_of(cases)]


def test_a_form_is_what_wrong_cases_share_and_no_right_one_has():
    cases = (
        seen("plain", "mode = a", "x is float"),
        seen("double", "mode = a", "x is double"),
        seen("small", "mode = b", "x is float", wrong=True, difference=0.1),
        seen("large", "mode = b", "x is double", wrong=True, difference=2.0),
    )
    (deviation,) = deviations_of(cases)
    assert (deviation.description, deviation.cases, deviation.difference, deviation.sometimes) == (
        "Op (mode = b)",
        ("small", "large"),
        0.1,
        False,
    )


def test_two_properties_where_one_does_not_suffice():
    cases = (
        seen("1", "mode = b", "smaller"),
        seen("2", "mode = a", "larger"),
        seen("3", "mode = b", "larger", wrong=True),
    )
    assert reported(*cases) == [("Op (mode = b, larger)", ("3",))]


def test_of_equal_properties_the_first_is_chosen():
    assert reported(seen("1", "a", "b"), seen("2", "option", "type", wrong=True)) == [("Op (option)", ("2",))]


def test_other_causes_are_forms_of_their_own():
    cases = (seen("1", "a"), seen("2", "b", wrong=True), seen("3", "c", wrong=True), seen("4", "c", wrong=True))
    assert reported(*cases) == [("Op (c)", ("3", "4")), ("Op (b)", ("2",))]


def test_an_operator_that_is_always_wrong_needs_no_property():
    assert reported(seen("1", "a", wrong=True), seen("2", "b", wrong=True), seen("3", "a", op="Other")) == [
        ("Op", ("1", "2"))
    ]


def test_what_depends_on_values_happens_sometimes():
    (deviation,) = deviations_of(
        (seen("1", "a", "b", "c", "version 1"), seen("2", "a", "b", "c", "version 1", wrong=True))
    )
    assert (deviation.sometimes, deviation.properties, deviation.description) == (True, ("a", "b", "c"), "Op (a, b, …)")


def test_right_cases_alone_make_no_form():
    assert reported(seen("1", "a"), seen("2", "b")) == []


def properties(node, inputs, opset=19, initializers=(), output=(None,) * 4) -> Use:
    """How one node uses its operator; inputs and output by name, type and shape."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    graph = helper.make_graph(
        [node],
        "g",
        values,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    (use,) = uses_of(model, Shapes(inferred(model).graph))
    return use


IMAGE = ("x", TensorProto.FLOAT, (1, 3, 8, 8))


def test_options_come_first_then_what_is_given_then_sizes_defaults_and_types():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], name="half", mode="linear", antialias=1)
    scales = ("s", np.array([1, 1, 0.5, 0.5], np.float32))
    use = properties(node, [IMAGE], initializers=[scales])
    assert (use.node, use.op, use.version) == ("half", "Resize", 19)
    assert use.properties[:4] == (
        "antialias = 1",
        "mode = linear",
        "input scales given",
        "result smaller than the input",
    )
    assert {"coordinate_transformation_mode = half_pixel", "input sizes not given"} <= set(use.properties)
    assert use.properties[-1] == "version 19"
    assert not any("scales is not a constant" in one for one in use.properties)


def test_a_list_that_means_nothing_is_the_default():
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    found = set(properties(node, [IMAGE]).properties)
    assert {"strides as by default", "pads given", "dilations as by default", "ceil_mode = 0"} <= found


def test_an_input_that_is_computed_is_a_property_and_a_constant_is_none():
    node = helper.make_node("Tile", ["x", "r"], ["y"])
    computed = properties(node, [IMAGE, ("r", TensorProto.INT64, (4,))])
    assert "repeats is not a constant" in computed.properties
    constant = properties(node, [IMAGE], initializers=[("r", np.array([1, 1, 2, 2]))])
    assert "repeats is not a constant" not in constant.properties
    assert "result larger than the input" in constant.properties


def test_types_are_recognized_by_name():
    use = properties(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE), [IMAGE])
    assert use.properties[0] == "to = double"
    assert "input is float" in use.properties


def test_sizes_that_are_not_known_are_not_a_property():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")
    use = properties(node, [("x", TensorProto.FLOAT, ("n", 3, "h", "w")), ("s", TensorProto.FLOAT, (4,))])
    assert not any(one.startswith("result") for one in use.properties)


def test_nodes_inside_branches_are_found():
    inner = helper.make_graph(
        [helper.make_node("SpaceToDepth", ["x"], ["z"], blocksize=2, name="inside")],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 12, 4, 4))],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, ()), helper.make_tensor_value_info(*IMAGE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 12, 4, 4))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    found = [use for use in uses_of(model, Shapes(inferred(model).graph)) if use.op == "SpaceToDepth"]
    assert [use.node for use in found] == ["inside", "inside"]
    assert "input is float" in found[0].properties


def test_operators_that_onnx_does_not_know_are_passed_over():
    graph = helper.make_graph([helper.make_node("Own", ["x"], ["y"], domain="made.up")], "g", [], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19), helper.make_opsetid("made.up", 1)])
    assert list(uses_of(model, Shapes(model.graph))) == []


@pytest.mark.parametrize(
    ("given", "matches"), [(("a", "b", "c"), True), (("b", "a"), True), (("a",), False), ((), False)]
)
def test_a_node_matches_a_form_whose_properties_it_all_has(given, matches):
    deviation = Deviation("Op", 1, ("a", "b"), ("case",))
    assert deviation.matches(Use("", "Op", 7, given)) == matches
    assert not deviation.matches(Use("", "Other", 1, ("a", "b")))


def test_a_number_of_axes_is_seldom_the_cause():
    """What else the wrong cases share belongs to the deviation then, so that it says little about other uses."""
    cases = (
        seen("1", "x is float", "x has 2 axes", "version 1"),
        seen("2", "option", "x is double", "x has 4 axes", "version 1", wrong=True),
        seen("3", "x is double", "x has 4 axes", "version 2", wrong=True),
        seen("4", "x is double", "x has 2 axes", "version 1"),
    )
    (deviation,) = deviations_of(cases)
    assert (deviation.properties, deviation.cases) == (("x is double", "x has 4 axes"), ("2", "3"))


def test_the_case_of_middle_difference_speaks_for_a_form():
    cases = [seen(name, "a", wrong=True, difference=off) for name, off in (("1", 1.0), ("2", 1e30), ("3", 1.1))]
    (deviation,) = deviations_of(cases)
    assert (deviation.cases, deviation.difference) == (("3", "1", "2"), 1.1)
