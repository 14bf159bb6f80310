"""Mixed precision: INT8 for chosen nodes of an ONNX graph and FP32 for the others, written again and again from one calibration.

Runs in a child process. A *unit* is what is quantized or left alone as a whole: a node, with the activation that melts into it.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError, during
from workbench.precision.calibration import find_ranges, library_method, unsigned_options
from workbench.precision.integers import WEIGHTED, prepared_for_int8
from workbench.precision.kept import note_kept
from workbench.precision.selection import Selection
from workbench.records import Calibration

if TYPE_CHECKING:
    from workbench.data.samples import Samples

ACTIVATIONS = ("Relu", "Clip")
JOINING = ("Add", "Mul", "Concat")
KINDS = (*WEIGHTED, "MaxPool", "AveragePool", "GlobalAveragePool", *JOINING, "Reshape", "Transpose", "Squeeze",
         "Unsqueeze", "Flatten", "Slice", "Split", "Pad", *ACTIVATIONS)  # fmt: skip
"""Operations that the form ``int8-u8`` takes."""


@dataclass(frozen=True)
class Unit:
    """A node and what melts into it, quantized or left alone together; ``place`` is where it comes in the graph's order."""

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
        InputError: it is quantized already.
        ExportError: it has no layer that could be quantized, or the library fails.
    """

    def __init__(
        self, source: Path, calibration: Samples, method: Calibration, folder: Path, say: Callable[[str], None]
    ) -> None:
        import onnx

        self._method, self._folder = method, folder
        self.prepared, self._seen = prepared_for_int8(onnx.load(source), folder, Selection(), say)
        graph = onnx.load(self.prepared).graph
        self.order = tuple(node.name for node in graph.node)
        self.units = units = _units(graph)
        if not any(unit.weighted for unit in units):
            raise ExportError("The model has no convolution or matrix product outside branches and loops to quantize.")
        self._ranges = folder / "ranges.json"
        find_ranges(self.prepared, KINDS, calibration, method, self._ranges, symmetric=False, progress=say)
        self.units, self.refused = self._taken(units, say)

    def _taken(self, units: tuple[Unit, ...], say: Callable[[str], None]) -> tuple[tuple[Unit, ...], tuple[str, ...]]:
        """The units without those of kinds that the quantizer fails on in this graph, and these kinds: per channel over many
        kinds of operations it does on some.
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
        """The model with these units in INT8 (unsigned activations, signed weights by channel) as the file ``into``.

        Raises:
            ExportError: the library fails on this choice.
        """
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        with (
            contextlib.redirect_stdout(io.StringIO()),
            during("quantize", f"{len(units)} units", ExportError),
            _quiet(),
        ):
            quantize_static(
                self.prepared,
                into,
                None,  # the ranges are in the cache
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(KINDS),
                # an empty list would mean all
                nodes_to_quantize=[name for unit in units for name in unit.nodes] or ["no node has this name"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=library_method(self._method),
                calibration_cache_path=self._ranges,
                extra_options=unsigned_options(self._method),
            )
            chosen = {name for unit in units for name in unit.nodes}
            note_kept(into, [name for unit in self.units for name in unit.nodes if name not in chosen])
        return into

    def original(self, node: str) -> str:
        """The name that a prepared node has in the model that was given, where it has one there: preparing joins nodes, and
        ``dense/MatMulAddFusion`` was made of ``dense``.
        """
        return self._seen.origin(node) or node


@contextlib.contextmanager
def _quiet() -> Any:
    """The library sets the level of everybody's log."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


def _units(graph: Any) -> tuple[Unit, ...]:
    """What can be quantized, in order. Sums and products with a constant are a bias or a scale of their own: as INT8 they lose
    much and gain nothing. An activation belongs to the one node before it, where nothing else reads that node's result.
    """
    import math

    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
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
