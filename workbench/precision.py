"""Precision is a rewrite of the ONNX graph, never a flag. Runs in a child process.

INT8 comes in two forms, because the two kinds of engine want opposite things: ``int8-u8`` (unsigned asymmetric
activations) is what CPU kernels are fast on, ``int8-s8`` (signed symmetric, bias left alone) is what TensorRT accepts.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.calibration import find_ranges, library_method
from workbench.errors import ExportError, InputError, brief, during, writing
from workbench.onnx_file import graphs, quantized_ops, tensors
from workbench.records import Calibration, Precision, RealizedPrecision
from workbench.repair import raise_opset, sort_nodes

if TYPE_CHECKING:
    from workbench.samples import Samples

FORMS = ("fp32", "fp16", "int8-u8", "int8-s8")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

_OPSET = 13  # per-channel QuantizeLinear begins here
_COMPARING = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
_SHARE = 0.5  # of the layers with weights that must have the format asked for

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


def rewrite(
    source: Path,
    form: str,
    into: Path,
    *,
    calibration: Samples | None,
    method: Calibration,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Write the FP32 model ``source`` in another precision to ``into``; returns what was done, ready for JSON.

    Raises:
        InputError: INT8 without calibration samples, or a model that is already quantized or 16-bit.
        ExportError: nothing could be quantized, or the result is not valid.
    """
    if form not in FORMS:
        raise InputError(f"Unknown form '{form}'. Choose from: {', '.join(FORMS)}.")
    with writing(into), tempfile.TemporaryDirectory(dir=into.parent, prefix=".rewrite-") as scratch:
        draft = Path(scratch) / "model.onnx"
        if form == "fp32":
            shutil.copyfile(source, draft)
            done: dict[str, Any] = {}
        elif form == "fp16":
            progress("rewriting to FP16")
            done = _fp16(source, draft)
        else:
            if calibration is None or calibration.count == 0:
                raise InputError(
                    "INT8 needs calibration samples, and these data have none. Give an .npz file of real inputs as 'data', "
                    "with more rows than 'calibration_samples'."
                )
            done = _int8(source, form, draft, calibration, method, progress)
        draft.replace(into)
    return {"form": form, **done}


def _fp16(source: Path, into: Path) -> dict[str, Any]:
    """Weights and arithmetic in 16 bits, inputs and outputs as before.

    Raises:
        InputError: the model already computes in 16 bits.
    """
    import onnx
    from onnxruntime.transformers import float16

    model = onnx.load(source)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for part in graphs(model.graph) for tensor in part.initializer):
        raise InputError("The model already holds 16-bit weights. Open the FP32 model it was made from.")
    overflows, rounded = _beyond_16_bits(model.graph)
    with during("rewrite", "the model to FP16", ExportError):
        result = float16.convert_float_to_float16(
            model, keep_io_types=True, node_block_list=_kept_at_32_bits(model.graph)
        )
    _drop_round_trips(result.graph)
    sort_nodes(result)  # the converter puts casts at the end
    del result.graph.value_info[:]  # the converter leaves some at 32 bits
    onnx.save(result, into)
    _check(into, "FP16")
    return {"rounded_tensors": rounded, "overflows": overflows[:5], "nodes": len(result.graph.node)}


def _beyond_16_bits(graph: Any) -> tuple[list[str], int]:
    """Weights that FP16 cuts to its largest number, in words, and how many tensors hold a number that it rounds up to its
    smallest. IEEE 754 binary16: 65504 and 2**-24.
    """
    import numpy as np
    import onnx

    largest, smallest = float(np.finfo(np.float16).max), float(np.finfo(np.float16).smallest_subnormal)
    overflows, rounded = [], 0
    for tensor in tensors(graph):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        sizes = np.abs(onnx.numpy_helper.to_array(tensor))
        sizes = sizes[np.isfinite(sizes)]
        top = float(sizes.max(initial=0))
        if top > largest:
            overflows.append(f"{tensor.name or 'a constant'} holds {top:g}, cut to {largest:g}")
        rounded += bool(((sizes > 0) & (sizes < smallest)).any())
    return overflows, rounded


def _kept_at_32_bits(graph: Any) -> list[str]:
    """Names of nodes to leave alone: casts of something to FP32, which the converter would leave unconverted among its
    16-bit neighbors, and comparisons of their results, often of indices, which FP16 rounds from 2048 on.
    """
    import onnx

    kept, results = [], set()
    for number, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if node.op_type == "Cast" and to == onnx.TensorProto.FLOAT:
            results.update(node.output)
            kept.append(node.name)
        elif node.op_type in _COMPARING and results & set(node.input):
            kept.append(node.name)
    return kept


def _drop_round_trips(graph: Any) -> None:
    """Let a comparison read a cast's FP32 result itself; the converter hands it on through FP16."""
    import onnx

    float32, float16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    makers = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    target = {name: node.attribute[0].i for name, node in makers.items()}
    for node in makers.values():
        down = node.input[0]
        if target[node.output[0]] == float32 and target.get(down) == float16:
            origin = makers[down].input[0]
            if target.get(origin) == float32:
                node.input[0] = origin


def _check(path: Path, what: str) -> None:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnx.checker.check_model(str(path))
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        raise ExportError(
            f"The {what} form of the model is not valid: {brief(cause, 300)} Choose another precision."
        ) from cause


def _int8(
    source: Path, form: str, into: Path, samples: Samples, method: Calibration, progress: Callable[[str], None]
) -> dict[str, Any]:
    import onnx

    folder = into.parent
    model = onnx.load(source)
    before = _opset(model)
    _refuse_quantized(model)
    model = raise_opset(model, _OPSET)
    progress("preparing for INT8")
    raised, prepared = folder / "raised.onnx", folder / "prepared.onnx"
    onnx.save(model, raised)
    _prepare(raised, prepared)
    prepared_model = onnx.load(prepared)
    chosen = _candidates(prepared_model, form)
    if not any(node.op_type in WEIGHTED for node in prepared_model.graph.node if node.name in chosen):
        raise ExportError(
            "The model has no layer to quantize: no convolution or matrix product outside branches and loops. "
            "Choose fp32 or fp16."
        )
    ranges = folder / "ranges.json"
    find_ranges(prepared, _OPS[form], samples, method, ranges, symmetric=form == "int8-s8", progress=progress)
    progress("writing INT8")
    kinds = _OPS[form]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            _quantize(prepared, into, form, kinds, chosen, ranges, method)
        except Exception:  # per channel over many kinds of operations fails inside the quantizer on some graphs
            kinds = WEIGHTED
            progress("writing INT8 for layers with weights only")
            chosen = [
                node.name for node in prepared_model.graph.node if node.name in chosen and node.op_type in WEIGHTED
            ]
            with during("quantize", "the model", ExportError):
                _quantize(prepared, into, form, kinds, chosen, ranges, method)
    _check(into, "INT8")
    result = onnx.load(into)
    weighted, quantized = _weighted_layers(result.graph)
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
        "opset": _opset(result),
    }


def _opset(model: Any) -> int:
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def _refuse_quantized(model: Any) -> None:
    found = sorted(quantized_ops(model.graph))
    if found:
        raise InputError(
            f"The model is quantized already (it holds {', '.join(found)}). Open the model it was made from."
        )


def _prepare(source: Path, into: Path) -> None:
    """Fold constants and batch normalization, infer shapes, and give every node a name."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.root.level
    try:
        with during("prepare", "the model for INT8", ExportError):
            quant_pre_process(source, into, skip_symbolic_shape=True)
    finally:
        logging.root.setLevel(level)


def _candidates(model: Any, form: str) -> list[str]:
    """Names of the nodes to quantize: those of the form's kinds, without sums and products with a constant.

    Such a constant is a bias or a scale of its own; as INT8 it loses much and gains nothing.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _OPS[form] and not (node.op_type in _JOINING and constants & set(node.input))
    ]


def _quantize(
    source: Path, into: Path, form: str, ops: Iterable[str], nodes: list[str], ranges: Path, method: Calibration
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
        extra_options=tensorrt if form == "int8-s8" else {},
    )


def _weighted_layers(graph: Any) -> tuple[int, int]:
    """How many layers carry weights, and how many of them take dequantized inputs."""
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    weighted = [node for node in graph.node if node.op_type in WEIGHTED]
    return len(weighted), sum(set(node.input[:2]) <= dequantized for node in weighted)


def fix_batch(source: Path, batch: int, into: Path, sizes: Mapping[str, Sequence[int]] | None = None) -> None:
    """Write ``source`` with its batch axis fixed to ``batch``, and the other axes of the inputs in ``sizes`` to those.

    Raises:
        InputError: the model's batch is fixed to another number already.
    """
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    model = onnx.load(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    named = any(dim.dim_param == "batch" for v in inputs for dim in v.type.tensor_type.shape.dim)
    firsts = [v.type.tensor_type.shape.dim[0].dim_value for v in inputs if v.type.tensor_type.shape.dim]
    if not named and firsts and firsts[0] not in (0, batch):
        raise InputError(
            f"A batch of {batch} was asked for, but the model is fixed to {firsts[0]}. "
            f"Set 'batches' to {firsts[0]}, or export the model with a dynamic batch."
        )
    if named or sizes:
        del model.graph.value_info[:]
        make_dim_param_fixed(model.graph, "batch", batch)
        for value in inputs:
            for dim, size in zip(value.type.tensor_type.shape.dim, (sizes or {}).get(value.name, ()), strict=False):
                if dim.dim_param:
                    make_dim_param_fixed(model.graph, dim.dim_param, size)
        fix_output_shapes(model)
    with writing(into):
        draft = into.with_name(into.name + ".part")
        onnx.save(model, draft)
        draft.replace(into)


def judge(requested: Precision, realized: RealizedPrecision) -> str:
    """Why an engine does not deserve the name of the precision it was asked for, or "" where it does.

    FP32 must be FP32 throughout; of another format, half of the layers with weights must have it. A model without such
    layers has nothing to realize.
    """
    total = sum(realized.layers.values())
    got = realized.layers.get(str(requested), 0)
    if total == 0 or (got == total if requested == Precision.FP32 else got >= _SHARE * total):
        return ""
    found = ", ".join(f"{count} {name}" for name, count in sorted(realized.layers.items()) if count)
    return (
        f"Asked for {requested}, but {got} of {total} layers with weights compute in it (found: {found}; "
        f"read from {realized.basis}). Choose another precision for this backend."
    )
