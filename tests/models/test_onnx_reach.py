"""Where outputs of a graph come from: weights, random numbers, integers with a scale."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.models.onnx_reach import drawn, scales, unreached

W = np.ones((4, 4), np.float32)


def graph(nodes, outputs, **stored):
    values = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    return helper.make_graph(
        nodes, "g", given, [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], values
    )


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=f"{output}_node", **attributes)


def test_outputs_that_no_weight_has_a_part_in_are_named():
    found = unreached(
        graph(
            [
                node("MatMul", ["x", "w"], "main"),
                node("Identity", ["x"], "copy"),
                node("Mul", ["x", "two"], "twice"),
                node("Reshape", ["x", "shape"], "turned"),
                node("Add", ["copy", "main"], "sum"),
            ],
            ["main", "copy", "twice", "turned", "sum"],
            w=W,
            two=np.float32(2),
            shape=np.array([-1, 2, 2]),
        )
    )
    assert found == dict.fromkeys(("copy", "twice", "turned"), "it does not depend on weights, only on the input 'x'")


def test_weights_inside_of_a_branch_count():
    branch = lambda name, value: helper.make_graph(  # noqa: E731
        [helper.make_node("MatMul", ["x", f"{name}_w"], [name])],
        name,
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(W * value, f"{name}_w")],
    )
    nodes = [node("If", ["yes"], "o", then_branch=branch("a", 1), else_branch=branch("b", 2))]
    assert unreached(graph(nodes, ["o"], yes=np.array(True))) == {}


def test_weights_that_are_constants_count():
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.ones((8, 4), np.float32)))
    assert unreached(graph([constant, node("Gemm", ["x", "w"], "o", transB=1)], ["o"])) == {}


def test_random_numbers_are_named_by_their_node():
    found = drawn(
        graph(
            [node("RandomNormalLike", ["x"], "r"), node("Add", ["x", "r"], "o"), node("Identity", ["x"], "copy")],
            ["o", "copy"],
        )
    )
    assert found == {"o": "RandomNormalLike 'r_node'"}


@pytest.mark.parametrize(("train", "found"), [(True, {"o": "Dropout 'o_node'"}), (False, {})])
def test_dropout_draws_only_in_training(train, found):
    nodes = [node("Dropout", ["x", "share", "train"], "o")]
    assert drawn(graph(nodes, ["o"], share=np.float32(0.5), train=np.array(train))) == found


@pytest.mark.parametrize("way", ["QuantizeLinear", "moved", "computed", "for each channel", "no zero point"])
def test_the_scale_of_an_integer_output(way):
    scale = np.full(4, 0.25, np.float32) if way == "for each channel" else np.float32(0.25)
    zero = np.full(4, 3, np.uint8) if way == "for each channel" else np.uint8(3)
    names = ["x", "s"] if way == "no zero point" else ["x", "s", "z"]
    nodes = [node("QuantizeLinear", names, "q", **({"axis": 1} if way == "for each channel" else {}))]
    nodes += {"moved": [node("Transpose", ["q"], "o")], "computed": [node("ArgMax", ["q"], "o")]}.get(
        way, [node("Identity", ["q"], "o")]
    )
    found = scales(graph(nodes, ["o"], s=scale, z=zero))
    wanted = {"computed": {}, "for each channel": {}, "no zero point": {"o": (0.25, 0)}}
    assert found == wanted.get(way, {"o": (0.25, 3)})
