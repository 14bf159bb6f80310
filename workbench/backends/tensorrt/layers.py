"""The layers of a TensorRT network before it is built, in the inspector's form: what is known without a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from workbench.backends.tensorrt.inspector import Inspection, Layer, Tensor
from workbench.backends.tensorrt.weak_typing import origin
from workbench.records import RealizedPrecision

BASIS = "types of the strongly typed network; the engine itself needs a GPU to be read"
NAMES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY")
MOVING = ("SHUFFLE", "IDENTITY", "SQUEEZE", "UNSQUEEZE")


def declared(network: Any) -> Inspection:
    """Every layer with the types of its tensors, which the builder of a strongly typed network may not change."""
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    dequantized = _dequantized(layers)
    inputs = map(network.get_input, range(network.num_inputs))
    outputs = map(network.get_output, range(network.num_outputs))
    return Inspection(
        layers=tuple(_layer(layer, dequantized) for layer in layers),
        io=tuple(_tensor(tensor) for tensor in (*inputs, *outputs)),
        basis=BASIS,
    )


def weighted(inspection: Inspection) -> tuple[Layer, ...]:
    """Its convolutions and matrix products."""
    return tuple(layer for layer in inspection.layers if layer.type in WEIGHTED)


def realized(inspection: Inspection) -> RealizedPrecision:
    """The formats that the layers with weights were declared in."""
    return RealizedPrecision(dict(Counter(layer.precision for layer in weighted(inspection))), inspection.basis)


def _dequantized(layers: list[Any]) -> dict[str, str]:
    """Tensors that hold what was quantized a moment before, and its format: "int8", "int4" or "fp8"."""
    found: dict[str, str] = {}
    for layer in layers:
        first = layer.get_input(0) if layer.num_inputs else None
        # layers that only move data keep what was dequantized: the weights' path to a matrix product has some
        if layer.type.name == "DEQUANTIZE" and first is not None:
            found[layer.get_output(0).name] = first.dtype.name.lower()
        elif layer.type.name in MOVING and first is not None and first.name in found:
            found[layer.get_output(0).name] = found[first.name]
    return found


def _layer(layer: Any, dequantized: dict[str, str]) -> Layer:
    inputs = tuple(_tensor(one) for one in _tensors(layer.get_input, layer.num_inputs))
    return Layer(
        name=layer.name,
        type=layer.type.name,
        inputs=inputs,
        outputs=tuple(_tensor(one) for one in _tensors(layer.get_output, layer.num_outputs)),
        precision=_precision(layer.type.name, inputs, dequantized),
        origin=origin(layer),
    )


def _precision(kind: str, inputs: tuple[Tensor, ...], dequantized: dict[str, str]) -> str:
    """The format of the first input; where only the weights were quantized, that they are stored so."""
    if not inputs:
        return ""
    first, *rest = inputs
    stored = next((dequantized[one.name] for one in rest[:1] if one.name in dequantized), "")
    if kind in WEIGHTED and stored and first.name not in dequantized:
        return f"{stored}-weights"
    return dequantized.get(first.name, first.dtype)


def _tensors(getter: Any, count: int) -> Iterator[Any]:
    """Those that are there: an optional input that was left out is None."""
    return (tensor for tensor in map(getter, range(count)) if tensor is not None)


def _tensor(tensor: Any) -> Tensor:
    try:
        shape = tuple(int(size) for size in tensor.shape)
    except ValueError:  # not even the number of axes is known before the build
        shape = None
    return Tensor(tensor.name, NAMES.get(tensor.dtype.name, tensor.dtype.name.lower()), shape)
