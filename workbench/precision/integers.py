"""ONNX in INT8 with calibrated ranges: Q/DQ around layers, in the two forms that engines want.

``int8-u8`` (unsigned asymmetric activations) is what CPU kernels are fast on, ``int8-s8`` (signed symmetric, bias left alone)
is what TensorRT accepts.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError, InputError, brief, during
from workbench.models.onnx_file import graphs, quantized_ops
from workbench.models.onnx_repair import inline_functions, name_nodes, raise_opset
from workbench.precision.calibration import find_ranges, fixed_rows, library_method, unsigned_options
from workbench.precision.kept import note_kept
from workbench.precision.selection import Selection
from workbench.records import Calibration

if TYPE_CHECKING:
    from workbench.data.samples import Samples

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

_OPSET = 13  # per-channel QuantizeLinear begins here

# Not everything that can be quantized should be: per-channel over all operations fails inside the quantizer, and
# around cheap operations the conversions cost more than they save. Relu and Clip are here to melt into the layer before.
_JOINING = ("Add", "Mul", "Concat")
_POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool")
_COPYING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Pad")
_OPS = {
    "int8-u8": (*WEIGHTED, *_POOLING, *_JOINING, *_COPYING, "Relu", "Clip"),
    # TensorRT moves Q and DQ through operations that only copy by itself; a Q/DQ after a layer would stop it from
    # joining the layer with its activation.
    "int8-s8": (*WEIGHTED, *_POOLING, "Add", "Mul"),
}


def static(
    source: Path,
    form: str,
    into: Path,
    samples: Samples,
    method: Calibration,
    selection: Selection,
    progress: Callable[[str], None],
    *,
    ops: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write ``source`` with Q/DQ in the form "int8-u8" or "int8-s8", around the form's kinds of operations or ``ops``.

    Raises:
        InputError: the model is quantized already, or the selection names nothing.
        ExportError: there is nothing to quantize, or the library fails.
    """
    import onnx

    folder = into.parent
    model = onnx.load(source)
    before = opset_of(model)
    prepared, selection = prepared_for_int8(model, folder, selection, progress)
    prepared_model = onnx.load(prepared)
    chosen = [node.name for node in _candidates(prepared_model, ops or _OPS[form]) if selection.takes(node)]
    if not any(node.op_type in WEIGHTED for node in prepared_model.graph.node if node.name in chosen):
        where = "that 'quantize' and 'keep' leave" if selection else "outside branches and loops"
        raise ExportError(
            f"The model has no layer to quantize: no convolution or matrix product {where}. Choose fp32 or fp16."
        )
    ranges = folder / "ranges.json"
    kinds = ops or _OPS[form]
    find_ranges(prepared, kinds, samples, method, ranges, symmetric=form == "int8-s8", progress=progress)
    progress("writing INT8")
    kinds, chosen = _quantize_as_far_as_possible(prepared, into, form, kinds, chosen, ranges, method, samples, progress)
    if selection:
        note_kept(into, [node.name for node in prepared_model.graph.node if not selection.takes(node)])
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
        "quantized_kinds": sorted(kinds),
        "quantize_nodes": sum(node.op_type == "QuantizeLinear" for node in result.graph.node),
        "opset_before": before,
        "opset": opset_of(result),
    }


def opset_of(model: Any) -> int:
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def refuse_quantized(model: Any) -> None:
    found = sorted(quantized_ops(model.graph))
    if found:
        raise InputError(
            f"The model is quantized already (it holds {', '.join(found)}). Open the model it was made from."
        )


def prepared_for_int8(
    model: Any, folder: Path, selection: Selection, progress: Callable[[str], None]
) -> tuple[Path, Selection]:
    """The model in opset 13 or above, folded and with names, as a file in ``folder``; and the selection for it.

    Raises:
        InputError: it is quantized already, or the selection names nothing in it.
    """
    import onnx

    refuse_quantized(model)
    inline_functions(model)  # the bodies of functions have nodes without names, and are written out in any case
    name_nodes(model)
    selection = selection.seen(model.graph.node)
    progress("preparing for INT8")
    raised, prepared = folder / "raised.onnx", folder / "prepared.onnx"
    onnx.save(raise_opset(model, _OPSET), raised)
    _prepare(raised, prepared)
    ready = onnx.load(prepared)
    _flatten_biases(ready.graph)
    name_nodes(ready)  # preparing may leave nodes without a name, or with another node's
    onnx.save(ready, prepared)
    selection.check(ready.graph.node)
    return prepared, selection


def _flatten_biases(graph: Any) -> None:
    """Constant biases of Gemm as vectors. A bias of [1, n], which fusing MatMul and Add may leave,
    means the same, and the quantizer gives it scales that do not fit it.
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
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _prepare(source: Path, into: Path) -> None:
    """Fold constants and batch normalization, infer shapes, and give every node a name."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.root.level
    try:
        with during("prepare", "the model for INT8", ExportError):
            quant_pre_process(source, into, skip_symbolic_shape=True)
    finally:
        logging.root.setLevel(level)


def _candidates(model: Any, kinds: tuple[str, ...]) -> list[Any]:
    """The nodes to quantize: those of these kinds, without sums and products with a constant.

    Such a constant is a bias or a scale of its own; as INT8 it loses much and gains nothing.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in kinds and not (node.op_type in _JOINING and constants & set(node.input))
    ]


def _quantize_as_far_as_possible(
    prepared: Path,
    into: Path,
    form: str,
    kinds: tuple[str, ...],
    chosen: list[str],
    ranges: Path,
    method: Calibration,
    samples: Samples,
    progress: Callable[[str], None],
) -> tuple[tuple[str, ...], list[str]]:
    """Quantize all kinds of operations, or where the library fails, layers with weights alone: (kinds, nodes) that were.

    Per channel it fails on some graphs while it widens scales of weights so that their biases fit 32 bits; without that widening
    a bias may be cut, which the score of the result shows. On some it writes what does not run, so one sample is run.
    """
    import onnx

    weighted = {node.name for node in onnx.load(prepared).graph.node if node.op_type in WEIGHTED}
    alone = [name for name in chosen if name in weighted]
    ways = ((kinds, chosen, True), (kinds, chosen, False), (WEIGHTED, alone, False))
    with contextlib.redirect_stdout(io.StringIO()), during("quantize", "the model", ExportError):
        for number, (of, nodes, fit_bias) in enumerate(ways):
            try:
                _quantize(prepared, into, form, of, nodes, ranges, method, fit_bias=fit_bias)
                _run_once(into, samples)
            except Exception:
                if number == len(ways) - 1:
                    raise
                progress("writing INT8 another way, because the library failed")
            else:
                return of, nodes
    raise AssertionError


def _run_once(path: Path, samples: Samples) -> None:
    session = _session(path)
    rows = fixed_rows(session, samples)
    session.run(None, samples.feeds(0, rows if isinstance(rows, int) else 1))


def _quantize(
    source: Path,
    into: Path,
    form: str,
    ops: Iterable[str],
    nodes: list[str],
    ranges: Path,
    method: Calibration,
    *,
    fit_bias: bool,
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kinds = list(ops)
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
        nodes_to_quantize=nodes,
        per_channel=True,
        activation_type=QuantType.QInt8 if form == "int8-s8" else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=library_method(method),
        calibration_cache_path=ranges,
        extra_options=tensorrt
        if form == "int8-s8"
        else {"QDQDisableWeightAdjustForInt32Bias": not fit_bias} | unsigned_options(method),
    )


def weighted_layers(graph: Any) -> tuple[int, int]:
    """How many layers carry weights, and how many of them take dequantized inputs."""
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weighted = [node for node in graph.node if node.op_type in WEIGHTED]
    return len(weighted), sum(set(node.input[:2]) <= dequantized for node in weighted)


def check(path: Path, what: str) -> None:
    """Refuse a file that is no valid ONNX or that ONNX Runtime does not open as it is.

    Raises:
        ExportError: what was said.
    """
    onnx_checked(path, what)
    try:
        _session(path)
    except Exception as cause:
        raise ExportError(
            f"The {what} form of the model is not valid: {brief(cause, 300)} Choose another precision."
        ) from cause


def onnx_checked(path: Path, what: str) -> None:
    """Refuse a file that is no valid ONNX.

    Raises:
        ExportError: what was said.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except Exception as cause:
        raise ExportError(
            f"The {what} form of the model is not valid: {brief(cause, 300)} Choose another precision."
        ) from cause


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
