"""Rewrite ONNX to INT8 with calibrated ranges: Q/DQ around layers, in the two forms that engines need.

``int8-u8`` (unsigned asymmetric activations) is fast on CPU kernels; ``int8-s8`` (signed symmetric, bias not quantized) is what
TensorRT accepts.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workbench.data.samples import Samples
from workbench.errors import ExportError, InputError, brief, during
from workbench.models.onnx_file import drop_unread, quantized_ops
from workbench.models.onnx_repair import inline_functions, name_nodes, raise_opset
from workbench.models.onnx_upgrade import opset_of
from workbench.models.operators import WEIGHTED
from workbench.models.ort_values import unoptimized
from workbench.precision.calibration import (
    RANGES,
    fixed_rows,
    less_logged,
    library_method,
    save_ranges,
    unsigned_options,
)
from workbench.precision.kept import note_kept
from workbench.precision.options import RewriteOptions
from workbench.precision.selection import Selection

_OPSET = 13  # per-channel QuantizeLinear begins here

# Not everything that can be quantized should be: per-channel quantization of all operations fails inside the quantizer, and around
# cheap operations the conversions cost more than they save. Relu and Clip are here to be fused into the layer before them.
JOINING = ("Add", "Mul", "Concat")
_POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool")
_COPYING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Pad")
ACTIVATIONS = ("Relu", "Clip")
OPERATIONS = {
    "int8-u8": (*WEIGHTED, *_POOLING, *JOINING, *_COPYING, *ACTIVATIONS),
    # TensorRT itself moves Q and DQ through operations that only copy; a Q/DQ after a layer would prevent the fusion of
    # the layer with its activation.
    "int8-s8": (*WEIGHTED, *_POOLING, "Add", "Mul"),
}


class QuantizedNodes(NamedTuple):
    """The operations and nodes to quantize, and whether weight scales are widened so that biases fit 32 bits."""

    kinds: tuple[str, ...]
    nodes: list[str]
    fit_bias: bool = True


def static(source: Path, into: Path, options: RewriteOptions, *, ops: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write ``source`` with Q/DQ in the form "int8-u8" or "int8-s8", around the form's kinds of operations or ``ops``.

    Raises:
        InputError: the model is quantized already, or an entry of the selection matches no node.
        ExportError: there is nothing to quantize, or the library fails.
    """
    import onnx

    form, method, samples, progress = options.form, options.method, options.calibration, options.progress
    model = onnx.load(source)
    before = opset_of(model)
    prepared, selection = prepared_for_int8(model, into.parent, options.selection, progress)
    nodes = onnx.load(prepared).graph
    kinds = ops or OPERATIONS[form]
    choice = QuantizedNodes(kinds, [node.name for node in _candidates(nodes, kinds) if selection.takes(node)])
    if not any(node.op_type in WEIGHTED for node in nodes.node if node.name in choice.nodes):
        where = "that 'quantize' and 'keep' allow" if selection else "outside branches and loops"
        raise ExportError(
            f"The model has no layer to quantize: no convolution or matrix product {where}. Choose fp32 or fp16."
        )
    save_ranges(prepared, kinds, samples, method, symmetric=form == "int8-s8", progress=progress)
    progress("writing INT8")
    choice = _quantize_as_far_as_possible(prepared, into, options, choice)
    if selection:
        note_kept(into, [node.name for node in nodes.node if not selection.takes(node)])
    check(into, "INT8")
    result = onnx.load(into)
    weighted, quantized = weighted_layers(result.graph)
    if not quantized:
        raise ExportError(f"Quantizing changed none of its {weighted} layers with weights. Choose fp32 or fp16.")
    return {
        "method": str(method),
        "samples": samples.count,
        "weighted_layers": weighted,
        "quantized_layers": quantized,
        "quantized_kinds": sorted(choice.kinds),
        "quantize_nodes": sum(node.op_type == "QuantizeLinear" for node in result.graph.node),
        "opset_before": before,
        "opset": opset_of(result),
    }


def refuse_quantized(model: Any) -> None:
    found = sorted(quantized_ops(model.graph))
    if found:
        raise InputError(
            f"The model is quantized already (it holds {', '.join(found)}). Open the model that it was made from."
        )


def prepared_for_int8(
    model: Any, folder: Path, selection: Selection, progress: Callable[[str], None]
) -> tuple[Path, Selection]:
    """Write the model in opset 13 or above, folded and with node names, to ``folder``; return the file and the selection for it.

    Raises:
        InputError: it is quantized already, or an entry of the selection matches no node.
    """
    import onnx

    refuse_quantized(model)
    inline_functions(model)  # nodes in functions have no names, and preparing inlines functions anyway
    name_nodes(model)
    selection = selection.seen(model.graph.node)
    progress("preparing for INT8")
    raised, prepared = folder / "raised.onnx", folder / "prepared.onnx"
    onnx.save(raise_opset(model, _OPSET), raised)
    _prepare(raised, prepared)
    ready = onnx.load(prepared)
    _flatten_biases(ready.graph)
    _separate_biases(ready.graph)
    name_nodes(ready)  # preparing may leave nodes without a name, or with a duplicate one
    onnx.save(ready, prepared)
    selection.check(ready.graph.node)
    return prepared, selection


def _flatten_biases(graph: Any) -> None:
    """Replace constant biases of Gemm by vectors. A bias of [1, n], which the fusion of MatMul and Add may leave, has the same
    meaning, but the quantizer gives it scales that do not fit it.
    """
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in graph.initializer}
    wide = [
        node
        for node in graph.node
        if node.op_type == "Gemm" and len(node.input) > 2 and len(getattr(held.get(node.input[2]), "dims", ())) == 2
    ]
    for number, node in enumerate(node for node in wide if held[node.input[2]].dims[0] == 1):
        name = f"{node.input[2]}_flat{number}"
        graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(held[node.input[2]])[0], name))
        node.input[2] = name
    drop_unread(graph)


def _separate_biases(graph: Any) -> None:
    """Give every layer its own copy of a constant bias that several share. The quantizer also copies it, because the scales differ, but
    the name of its copy, the name with a number, may be that of another tensor: "conv1d_25" and the output "conv1d_252".
    """
    held = {tensor.name: tensor for tensor in graph.initializer}
    names = held.keys() | {name for node in graph.node for name in (*node.input, *node.output)}
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type not in WEIGHTED or len(node.input) < 3 or node.input[2] not in held:
            continue
        shared = node.input[2]
        if shared in taken:
            own = graph.initializer.add()
            own.CopyFrom(held[shared])
            own.name = node.input[2] = next(
                name for number in itertools.count() if (name := f"{shared}_own{number}") not in names
            )
            names.add(own.name)
        taken.add(shared)


def _prepare(source: Path, into: Path) -> None:
    """Fold constants and batch normalization, infer shapes, and name every node."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with less_logged(logging.NOTSET), during("prepare", "the model for INT8", ExportError):
        quant_pre_process(source, into, skip_symbolic_shape=True)


def _candidates(graph: Any, kinds: tuple[str, ...]) -> list[Any]:
    """The nodes to quantize: those of these kinds, without sums and products with a constant.

    Such a constant is a separate bias or scale, which loses much accuracy in INT8 and gains no speed.
    """
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type in kinds and not (node.op_type in JOINING and constants & set(node.input))
    ]


def _quantize_as_far_as_possible(
    prepared: Path, into: Path, options: RewriteOptions, choice: QuantizedNodes
) -> QuantizedNodes:
    """Quantize all kinds of operations, or, if the library fails, only layers with weights; return what was quantized.

    Per-channel quantization fails on some graphs while it widens weight scales so that biases fit 32 bits. Without that a bias may be
    clipped, which the accuracy of the result shows. Some written files cannot be run, so one sample is run.
    """
    import onnx

    weighted = {node.name for node in onnx.load(prepared).graph.node if node.op_type in WEIGHTED}
    last = QuantizedNodes(WEIGHTED, [name for name in choice.nodes if name in weighted], fit_bias=False)
    with contextlib.redirect_stdout(io.StringIO()), during("quantize", "the model", ExportError):
        for tried in (choice, choice._replace(fit_bias=False), last):
            try:
                quantize(prepared, into, options, tried)
                _run_once(into, options.calibration)
            except Exception:
                if tried is last:
                    raise
                options.progress("writing INT8 by another method, because the library failed")
            else:
                return tried
    raise AssertionError


def _run_once(path: Path, samples: Samples) -> None:
    session = unoptimized(path)
    rows = fixed_rows(session, samples)
    session.run(None, samples.feeds(0, rows if isinstance(rows, int) else 1))


def quantize(source: Path, into: Path, options: RewriteOptions, choice: QuantizedNodes) -> None:
    """Quantize a prepared file with the ranges that :func:`save_ranges` wrote for it; raises the library's errors."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kinds = list(choice.kinds)
    tensorrt: dict[str, Any] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "ForceQuantizeNoInputCheck": True,
        "OpTypesToExcludeOutputQuantization": kinds,
        "QDQDisableWeightAdjustForInt32Bias": True,
    }
    quantize_static(
        source,
        into,
        None,  # the ranges are in the cache
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=kinds,
        nodes_to_quantize=choice.nodes,
        per_channel=True,
        activation_type=QuantType.QInt8 if options.form == "int8-s8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=library_method(options.method),
        calibration_cache_path=source.parent / RANGES,
        extra_options=tensorrt
        if options.form == "int8-s8"
        else {"QDQDisableWeightAdjustForInt32Bias": not choice.fit_bias} | unsigned_options(options.method),
    )


def weighted_layers(graph: Any) -> tuple[int, int]:
    """The number of layers with weights, and of those with dequantized inputs."""
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weighted = [node for node in graph.node if node.op_type in WEIGHTED]
    return len(weighted), sum(set(node.input[:2]) <= dequantized for node in weighted)


def check(path: Path, what: str, *, opened: bool = True) -> None:
    """Refuse a file that is not valid ONNX or, with ``opened``, that ONNX Runtime cannot open without optimization.

    Raises:
        ExportError: the file is refused; the text has the reason.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path))
        if opened:
            unoptimized(path)
    except Exception as cause:
        raise ExportError(
            f"The {what} form of the model is not valid: {brief(cause, 300)} Choose another precision."
        ) from cause
