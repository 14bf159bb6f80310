"""The largest value of a pixel that a TensorFlow graph itself scales down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.models.pixels import DIVIDE, MOVE, MULTIPLY, Step, white_of

MOVED = {"Cast", "ExpandDims", "Identity", "Reshape", "Squeeze", "Transpose"}
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
SHAPES = {"Shape", "ShapeN", "Size", "Rank"}


def scaled_placeholders(graph_def: Any, names: Iterable[str]) -> dict[str, int]:
    """The value of white by the name of a placeholder, for those that nothing reads but one multiplication or division that scales pixels
    down, also where that is in a function that is called.
    """
    graph = _Graph(graph_def)
    return {name: found for name in names if (found := white_of(("", name), graph.readers))}


class _Graph:
    """A ``GraphDef`` with its functions. A value is named by its function ("" for the main graph) and its node or argument."""

    def __init__(self, graph_def: Any) -> None:
        self._functions = {one.signature.name: one for one in graph_def.library.function}
        self._nodes = {"": list(graph_def.node)} | {name: list(one.node_def) for name, one in self._functions.items()}

    def readers(self, value: tuple[str, str]) -> list[Step]:
        function, name = value
        return [
            self._step(function, node, place)
            for node in self._nodes[function]
            for place, source in enumerate(node.input)
            if _node_of(source) == name and node.op not in SHAPES
        ]

    def _step(self, function: str, node: Any, place: int) -> Step:
        if node.op in MOVED:
            return Step(MOVE, (function, node.name))
        if node.op in CALLS:
            called = self._functions.get(node.attr["f"].func.name)
            return Step(MOVE, (called.signature.name, called.signature.input_arg[place].name)) if called else Step("")
        if node.op == "Mul":
            return Step(MULTIPLY, number=self._number(function, node.input[1 - place]))
        if node.op in ("RealDiv", "Div") and place == 0:
            return Step(DIVIDE, number=self._number(function, node.input[1]))
        return Step("")

    def _number(self, function: str, source: str) -> float:
        """The value of a scalar constant; 0 for anything else."""
        from tensorflow import make_ndarray

        node = next((each for each in self._nodes[function] if each.name == _node_of(source)), None)
        if node is None:
            return 0.0
        if node.op in ("Cast", "Identity"):
            return self._number(function, node.input[0])
        if node.op != "Const":
            return 0.0
        held = make_ndarray(node.attr["value"].tensor)
        return float(held.reshape(())) if held.size == 1 and held.dtype.kind == "f" else 0.0


def _node_of(source: str) -> str:
    """The node or argument in the name of a tensor, such as ``x``, ``x:1`` or ``x:out:0``; "" for a control input."""
    return "" if source.startswith("^") else source.partition(":")[0]
