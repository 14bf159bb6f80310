"""TensorRT's engine inspector: its JSON of 8.x to 11.x and of TensorRT for RTX, read into one table of layers.

What differs between them: engine inputs and outputs are names under ``Bindings`` (to 10.x) or objects under
``I/O Tensors`` (from 11.0); a tensor has one text under ``Format/Datatype``, or ``Format`` beside ``DataType``; an engine
built without detailed profiling verbosity lists names of layers only. Nothing here needs a GPU or a library.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import BuildError
from workbench.graph.provenance import kind_of
from workbench.protocols import LayerTimings
from workbench.records import RealizedPrecision, from_json, to_json
from workbench.records.layers import LayerTime

FILE = "layers.json"
BASIS = "the engine inspector's layers of the built engine"

# NumPy-like short names, by what the library's words contain; the first that fits
_DTYPES = (
    ("bf16", r"bf(loat)?16"),
    ("fp16", r"fp16|float16|half"),
    ("fp8", r"fp8|float8|e4m3"),
    ("fp4", r"fp4|e2m1"),
    ("fp32", r"fp32|\bfloat(32)?\b"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("int4", r"int4"),
    ("int32", r"int32"),
    ("int64", r"int64"),
    ("bool", r"bool"),
)
COMPUTES = ("fp32", "fp16", "bf16", "int8", "fp8", "fp4", "int4")
# layers that move or convert data and compute nothing with weights
_MOVES = re.compile(r"reformat|copynode|no-?op|constant|shuffle|slice|identity|cast|quantize|move", re.IGNORECASE)
_WEIGHTED = re.compile(r"conv|gemm|matmul|matrix_?multiply|fully_?connected|mha|xmma", re.IGNORECASE)


@dataclass(frozen=True)
class Tensor:
    """An input or output of a layer or of the engine; ``dtype`` is "" and ``shape`` None where they are not reported."""

    name: str
    dtype: str = ""  # "fp32", "fp16", "bf16", "int8" ...
    shape: tuple[int, ...] | None = None  # -1: a dynamic axis
    format: str = ""  # the memory layout in the library's words


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, which may stand for several nodes of the model."""

    name: str
    type: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    precision: str = ""  # the format that it computes in; "": not reported
    tactic: str = ""
    origin: tuple[str, ...] = ()  # nodes of the ONNX model that it came from


@dataclass(frozen=True)
class Inspection:
    """The layers of an engine in order, and where they were read."""

    layers: tuple[Layer, ...]
    io: tuple[Tensor, ...] = ()  # the engine's inputs and outputs
    detailed: bool = True  # False: only names are known
    basis: str = BASIS

    def save(self, folder: Path) -> None:
        """Write the table beside the engine, as ``layers.json``."""
        (folder / FILE).write_text(json.dumps(to_json(self)), encoding="utf-8")

    def table(self) -> LayerTimings:
        """The layers as every library's are shown, without times."""
        layers = (
            LayerTime(
                name=each.name,
                op=each.type,
                kind=kind_of(each.type),
                precision=each.precision,
                inputs=", ".join(map(_words, each.inputs)),
                outputs=", ".join(map(_words, each.outputs)),
                origin=each.origin,
                tactic=each.tactic,
            )
            for each in self.layers
        )
        return LayerTimings(tuple(layers), {}, self.basis)


def load(folder: Path) -> Inspection | None:
    """The table that lies beside an engine, or None."""
    path = folder / FILE
    return from_json(Inspection, json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def read(text: str) -> Inspection:
    """The JSON of ``get_engine_information``, or of the file that trtexec writes with ``--exportLayerInfo``.

    Raises:
        BuildError: it is not JSON, or not JSON of an inspector.
    """
    try:
        # names of layers hold control characters (0x1e and 0x1f separate the nodes), sometimes unescaped
        found = json.loads(text, strict=False)
        entries = found["Layers"]
        layers = tuple(_layer(entry) for entry in entries)
        io = tuple(_tensor(entry) for entry in found.get("I/O Tensors") or found.get("Bindings") or ())
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise BuildError("The engine inspector's answer could not be read: it is not the JSON of layers.") from cause
    return Inspection(layers, io, detailed=any(isinstance(entry, Mapping) for entry in entries) or not entries)


def _words(tensor: Tensor) -> str:
    shape = "×".join("?" if size < 0 else str(size) for size in tensor.shape) if tensor.shape is not None else ""
    return " ".join(filter(None, (tensor.name, tensor.dtype, shape)))


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        return Layer(entry, origin=_origin(entry, ""))
    inputs = tuple(_tensor(one) for one in entry.get("Inputs") or ())
    weights = entry.get("Weights")
    declared = weights.get("Type", "") if isinstance(weights, Mapping) else ""
    name = str(entry.get("Name", ""))
    return Layer(
        name=name,
        type=str(entry.get("LayerType", "")),
        inputs=inputs,
        outputs=tuple(_tensor(one) for one in entry.get("Outputs") or ()),
        precision=_precision(inputs, str(declared), str(entry.get("Precision", ""))),
        tactic=str(entry.get("TacticName") or entry.get("TacticValue") or ""),
        origin=_origin(name, str(entry.get("Metadata") or "")),
    )


def _tensor(entry: Any) -> Tensor:
    if isinstance(entry, str):
        return Tensor(entry)
    lower = {key.lower(): value for key, value in entry.items()}
    both = str(lower.get("format/datatype", ""))
    layout = str(lower.get("format", "")) or both
    profiles = lower.get("profileinfo")
    if not layout and profiles:
        layout = str(profiles[0].get("Format", ""))
    shape = lower.get("dimensions")
    return Tensor(
        name=str(lower.get("name", "")),
        dtype=dtype_of(str(lower.get("datatype", "")) or both),
        shape=tuple(int(size) for size in shape) if isinstance(shape, list) else None,
        format=layout,
    )


def dtype_of(words: str) -> str:
    """``"fp16"`` for "Row major linear FP16 format", "Half" or "FP16"; "" where the text has no type."""
    return next((name for name, pattern in _DTYPES if re.search(pattern, words, re.IGNORECASE)), "")


def _precision(inputs: tuple[Tensor, ...], weights: str, declared: str) -> str:
    """The type of the first input that is computed with.

    Not the type of the weights if both are reported: weights may be stored in INT8 and used in FP16. And not the field
    "Precision", which holds the requested format. These are used where dynamic shapes leave the inputs without a type.
    """
    types = (tensor.dtype for tensor in inputs)
    first = next((dtype for dtype in types if dtype in COMPUTES), "")
    return first or dtype_of(weights) or dtype_of(declared)


def _origin(name: str, metadata: str) -> tuple[str, ...]:
    """The nodes named in the metadata (from 8.6), else the parts of the name, which joins fused nodes by plus signs."""
    nodes = re.findall(r"\[ONNX Layer: (.*?)\](?=$|[\s\x1e\x1f\[])", metadata)
    return tuple(dict.fromkeys(nodes or name.split(" + ")))


def realized(inspection: Inspection, nodes: Iterable[str]) -> RealizedPrecision | None:
    """The formats in which the engine computes these nodes of the model, its convolutions and matrix products.

    None where some node cannot be found among the layers with its format: half a count would pass for a whole one.
    """
    by_node: dict[str, list[Layer]] = {}
    for layer in inspection.layers:
        for node in layer.origin:
            by_node.setdefault(node, []).append(layer)
    counts: Counter[str] = Counter()
    for node in nodes:
        known = [layer for layer in by_node.get(node, ()) if layer.precision and not _moves(layer)]
        if not known:
            return None
        # a node may appear in several layers: that which multiplies, and others that prepare or finish
        counts[max(known, key=_multiplies).precision] += 1
    return RealizedPrecision(dict(counts), inspection.basis)


def of_weighted_layers(inspection: Inspection) -> RealizedPrecision:
    """The formats of the engine's own convolutions and matrix products, by their types and kernels: where its layers do not name the
    model's nodes. Fused ones count once.
    """
    layers = [each for each in inspection.layers if each.precision and not _moves(each) and _multiplies(each)]
    counts = Counter(layer.precision for layer in layers)
    return RealizedPrecision(dict(counts), f"{inspection.basis}, which do not name every node of the model")


def _moves(layer: Layer) -> bool:
    return bool(_MOVES.search(layer.type) or layer.name.startswith("Reformatting CopyNode"))


def _multiplies(layer: Layer) -> bool:
    return bool(_WEIGHTED.search(f"{layer.type} {layer.tactic}"))
