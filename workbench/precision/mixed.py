"""Mixed precision: write an ONNX graph with chosen nodes in INT8 and the others in FP32, repeatedly from one calibration.

Runs in a child process. A *unit* is quantized or left in FP32 as a whole: a node with the activation that is fused into it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.data.samples import Samples
from workbench.errors import ExportError, during
from workbench.models.onnx_file import readers_of
from workbench.models.operators import WEIGHTED
from workbench.precision.calibration import less_logged, save_ranges
from workbench.precision.integers import ACTIVATIONS, JOINING, OPERATIONS, QuantizedNodes, prepared_for_int8, quantize
from workbench.precision.kept import note_kept
from workbench.precision.options import RewriteOptions
from workbench.precision.selection import Selection
from workbench.records import Calibration

FORM = "int8-u8"
KINDS = OPERATIONS[FORM]


@dataclass(frozen=True)
class Unit:
    """A node and what is fused into it, quantized or left in FP32 together; ``place`` is its index in the graph's order."""

    name: str
    op: str
    nodes: tuple[str, ...]
    place: int
    weighted: bool  # it carries weights: a convolution or a matrix product with a constant
    weight_elements: int
    output: str  # the tensor that it writes last


class Quantizer:
    """One FP32 model, prepared and calibrated once.

    Raises:
        InputError: the model is quantized already.
        ExportError: the model has no layer that can be quantized, or the library fails.
    """

    def __init__(
        self, source: Path, calibration: Samples, method: Calibration, folder: Path, say: Callable[[str], None]
    ) -> None:
        import onnx

        self._folder, self._options = folder, RewriteOptions(FORM, calibration, method)
        self.prepared, self._seen = prepared_for_int8(onnx.load(source), folder, Selection(), say)
        graph = onnx.load(self.prepared).graph
        self.order = tuple(node.name for node in graph.node)
        self.units = units = _units(graph)
        if not any(unit.weighted for unit in units):
            raise ExportError("The model has no convolution or matrix product outside branches and loops to quantize.")
        save_ranges(self.prepared, KINDS, calibration, method, symmetric=False, progress=say)
        self.units, self.refused = self._taken(units, say)

    def _taken(self, units: tuple[Unit, ...], say: Callable[[str], None]) -> tuple[tuple[Unit, ...], tuple[str, ...]]:
        """The units without the kinds on which the quantizer fails in this graph, and these kinds: per-channel quantization of many
        kinds fails on some graphs.
        """
        draft = self._folder / "taken.onnx"
        try:
            self.write(draft, units)
        except ExportError:
            say("looking for the kinds of operations that the quantizer fails on")
        else:
            return units, ()
        kept = [unit for unit in units if unit.op in WEIGHTED]
        self.write(draft, kept)
        refused = []
        for op in dict.fromkeys(unit.op for unit in units if unit.op not in WEIGHTED):
            more = [unit for unit in units if unit.op == op]
            try:
                self.write(draft, [*kept, *more])
            except ExportError:
                refused.append(op)
            else:
                kept += more
        return tuple(sorted(kept, key=lambda unit: unit.place)), tuple(refused)

    def write(self, into: Path, units: Collection[Unit]) -> Path:
        """Write the model with these units in INT8 (unsigned activations, signed weights by channel) to ``into``.

        Raises:
            ExportError: the library fails on this choice.
        """
        chosen = [name for unit in units for name in unit.nodes]
        with (
            contextlib.redirect_stdout(io.StringIO()),
            during("quantize", f"{len(units)} units", ExportError),
            less_logged(logging.WARNING),
        ):
            # an empty list would mean all
            quantize(self.prepared, into, self._options, QuantizedNodes(KINDS, chosen or ["no node has this name"]))
            note_kept(into, [name for unit in self.units for name in unit.nodes if name not in chosen])
        return into

    def original(self, node: str) -> str:
        """The name in the source model of a prepared node, if it has one there: preparing fuses nodes, and
        ``dense/MatMulAddFusion`` was made from ``dense``.
        """
        return self._seen.origin(node) or node


def _units(graph: Any) -> tuple[Unit, ...]:
    """The units of a graph, in order. Sums and products with a constant are a separate bias or scale, which loses much accuracy in
    INT8 and gains no speed. An activation belongs to the node before it if that node's result has no other reader.
    """
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    readers = readers_of(graph)
    outputs = {value.name for value in graph.output}
    melted: set[str] = set()
    units = []
    for place, node in enumerate(graph.node):
        constant = bool(set(node.input) & set(sizes))
        if node.op_type not in KINDS or node.name in melted or (node.op_type in JOINING and constant):
            continue
        after = readers.get(node.output[0], [])
        follows = len(after) == 1 and after[0].op_type in ACTIVATIONS and node.output[0] not in outputs
        last = after[0] if follows and node.op_type not in ACTIVATIONS else node
        melted.add(last.name)
        units.append(
            Unit(
                name=node.name,
                op=node.op_type,
                nodes=tuple(dict.fromkeys((node.name, last.name))),
                place=place,
                weighted=node.op_type in WEIGHTED and constant,
                weight_elements=max((sizes.get(tensor, 0) for tensor in node.input), default=0),
                output=last.output[0],
            )
        )
    return tuple(units)
