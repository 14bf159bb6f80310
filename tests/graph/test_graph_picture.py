"""The picture of a graph: what is in it, that it is safe to embed, and that nothing in it overlaps."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench.errors import InputError
from workbench.graph.picture import MOST, svg

FLOAT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
NAMESPACE = "{http://www.w3.org/2000/svg}"


class Net:
    """Writes small graphs: every call adds a node and returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list = []

    def __call__(self, op: str, *inputs: str, **attributes) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(self, x: str) -> str:
        return self("Conv", x, "w", pads=[1, 1, 1, 1])

    def save(self, path: Path, output: str) -> Path:
        weights = [numpy_helper.from_array(np.ones((4, 4, 3, 3), "float32"), "w")]
        shape = ["n", 4, 8, 8]
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", FLOAT, shape)],
            [helper.make_tensor_value_info(output, FLOAT, None)], weights,
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def _residual(path: Path, blocks: int) -> Path:
    net, x = Net(), "x"
    for _ in range(blocks):
        inner = net.conv(net("Relu", net.conv(x)))
        x = net("Relu", net("Add", x, inner))
    return net.save(path, x)


def _boxes(picture: str) -> list[tuple[str, list[str], tuple[float, ...]]]:
    """Tooltip, lines of text (the letter first) and x, y, width, height of every box."""
    found = []
    for group in ET.fromstring(picture).iter(f"{NAMESPACE}g"):
        tip, frame = group.find(f"{NAMESPACE}title"), group.find(f"{NAMESPACE}rect")
        if tip is not None and frame is not None:
            size = tuple(float(frame.get(key, "0")) for key in ("x", "y", "width", "height"))
            found.append((tip.text or "", [t.text or "" for t in group.iter(f"{NAMESPACE}text")], size))
    return found


def test_a_small_graph_shows_every_node_with_its_shape(tmp_path) -> None:
    net = Net()
    boxes = _boxes(svg(net.save(tmp_path / "s.onnx", net("Relu", net.conv("x"))), "small"))
    assert [lines for _, lines, _ in boxes] == [
        ["→", "x", "? × 4 × 8 × 8"],
        ["W", "Conv", "? × 4 × 8 × 8"],
        ["A", "Relu", "? × 4 × 8 × 8"],
        ["⇥", "relu_1_out", "? × 4 × 8 × 8"],
    ]
    assert boxes[1][0] == "Conv  conv_0  → ? × 4 × 8 × 8"


def test_nothing_of_the_file_becomes_markup_and_nothing_is_fetched(tmp_path) -> None:
    net = Net()
    evil = '"><script>alert(1)</script>&'
    path = net.save(tmp_path / "e.onnx", net("Relu", net.conv("x")))
    proto = onnx.load(path)
    proto.graph.node[0].name = evil
    proto.graph.input[0].name = proto.graph.node[0].input[0] = evil
    onnx.save(proto, path)
    picture = svg(path, evil)
    assert evil in _boxes(picture)[1][0]
    assert not re.search(r"<script|<style|<image|<use|href|url\(|@import", picture)
    assert picture.count("http") == 1  # the name space


def test_a_long_graph_is_folded_and_stays_legible(tmp_path) -> None:
    picture = svg(_residual(tmp_path / "r.onnx", 16), "residual")
    boxes = _boxes(picture)
    assert len(boxes) <= MOST
    assert len(picture) < 300_000
    assert ["W", "Conv → Relu → Conv", "? × 4 × 8 × 8"] in [lines for _, lines, _ in boxes]
    assert "80 nodes in" in picture


def test_repeated_blocks_are_written_once_with_their_number(tmp_path) -> None:
    boxes = _boxes(svg(_residual(tmp_path / "r.onnx", 100), "deep", max_nodes=20))
    assert len(boxes) <= 20
    assert any("× 100, one after the other" in lines for _, lines, _ in boxes)


def test_a_repeated_chain_is_written_once_with_its_number(tmp_path) -> None:
    net, x = Net(), "x"
    for _ in range(3):
        x = net("Relu", net.conv(x))
    boxes = _boxes(svg(net.save(tmp_path / "c.onnx", x), "chain", max_nodes=3))
    assert boxes[1][1] == ["W", "(Conv → Relu) ×3", "? × 4 × 8 × 8"]


def test_any_graph_can_be_folded(tmp_path) -> None:
    net = Net()
    made = ["x"]
    random = np.random.default_rng(3)
    for _ in range(150):
        made.append(net("Add", *(made[i] for i in random.integers(max(0, len(made) - 6), len(made), 2))))
    boxes = _boxes(svg(net.save(tmp_path / "t.onnx", made[-1]), "tangle", max_nodes=25))
    assert len(boxes) <= 25


@pytest.mark.parametrize("most", [12, 40, 400])
def test_no_two_boxes_overlap_and_all_are_inside(tmp_path, most) -> None:
    net = Net()
    made = ["x"]
    random = np.random.default_rng(5)
    for _ in range(60):
        made.append(net("Add", *(made[i] for i in random.integers(max(0, len(made) - 5), len(made), 2))))
    picture = svg(net.save(tmp_path / "o.onnx", made[-1]), "overlap", max_nodes=most)
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)[0])
    frames = [frame for _, _, frame in _boxes(picture)]
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(frames, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in frames)


def test_branches_are_one_box_that_counts_them(tmp_path) -> None:
    def branch(name: str, op: str):
        node = helper.make_node(op, ["x"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", FLOAT, [2])])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a", "Relu"), else_branch=branch("b", "Abs"))
    inputs = [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("c", BOOL, [])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", FLOAT, [2])])
    path = tmp_path / "if.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    picture = svg(path, "if")
    assert ["?", "If: 2 branches, 2 nodes", "2"] in [lines for _, lines, _ in _boxes(picture)]
    assert picture.count('stroke="none"') == 3  # arrows: both inputs into the If, the If into the output


def test_what_only_prepares_shapes_is_left_out_and_counted(tmp_path) -> None:
    net = Net()
    shape = net("Shape", "x")
    path = net.save(tmp_path / "s.onnx", net("Reshape", net.conv("x"), shape))
    picture = svg(path, "shapes")
    assert "Shape" not in {line for _, lines, _ in _boxes(picture) for line in lines}
    assert "left out: 1 node preparing shapes or weights" in picture


def test_colors_have_letters_and_only_those_in_the_picture_are_explained(tmp_path) -> None:
    net = Net()
    picture = svg(net.save(tmp_path / "l.onnx", net("Relu", net.conv("x"))), "legend")
    assert "layers with weights" in picture
    assert "activation" in picture
    assert "quantization" not in picture


def test_a_file_that_is_not_onnx_is_refused(tmp_path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    with pytest.raises(InputError, match=r"'x\.onnx' cannot be read as ONNX"):
        svg(tmp_path / "x.onnx", "x")


def test_a_box_names_its_nodes_and_sums_their_operations(tmp_path):
    picture = ET.fromstring(svg(_residual(tmp_path / "net.onnx", 2), "net", work={"conv_0": 2_000_000, "conv_2": 1}))
    boxes = [group for group in picture.iter(f"{NAMESPACE}g") if "data-nodes" in group.attrib]
    named = [name for box in boxes for name in box.attrib["data-nodes"].split("\n")]
    assert {"conv_0", "relu_1", "conv_2", "add_3"} <= set(named)
    (first,) = (box for box in boxes if "conv_0" in box.attrib["data-nodes"].split("\n"))
    assert "2 MFLOPs for one sample" in first.find(f"{NAMESPACE}title").text
