"""Operators that multiply with weights, and libraries' names of number formats."""

from __future__ import annotations

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""ONNX's own operators with weights that are rewritten to other formats."""
RECURRENT = ("GRU", "LSTM", "RNN")
FUSED = ("FusedConv", "FusedGemm", "FusedMatMul")
"""Operators that ONNX Runtime's optimizer writes for a layer fused with its activation."""
INTEGER = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
           "QAttention")  # fmt: skip
"""Operators that compute on 8-bit integers: ONNX's own, and those of ONNX Runtime's optimizer."""
TENSORFLOW_WEIGHTED = frozenset({
    "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "BatchMatMulV3",
    "Einsum", "CudnnRNN",
})  # fmt: skip

_FORMATS = {
    "fp32": ("float", "float32", "f32"),
    "fp16": ("float16", "half", "f16"),
    "bf16": ("bfloat16", "bf16"),
    "fp64": ("double", "float64", "f64"),
    "int8": ("int8", "uint8", "i8", "u8"),
}
_BY_NAME = {name: fmt for fmt, names in _FORMATS.items() for name in names}


def format_of(name: str, otherwise: str | None = None) -> str:
    """The project's name of an element type, such as ``fp32``, for a library's name in upper or lower case. Signed and unsigned bytes
    are both ``int8``. For an unknown name the result is ``otherwise``, or the name itself.

    >>> format_of("float32")
    'fp32'
    """
    return _BY_NAME.get(name.lower(), name if otherwise is None else otherwise)
