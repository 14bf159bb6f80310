"""Fourier transforms and what stands around them.

ONNX has no complex numbers: a complex tensor of shape [..., n] becomes a real one of shape [..., n, 2], real part first.
Transforms are written as ``DFT`` over complex numbers also where the input is real, because OpenVINO's form for real input
returns another shape than ONNX's definition.
"""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import Writer

FLOAT = 1  # ONNX's number for float32


def _part(write: Writer, tensor: str, which: int) -> str:
    """Real (0) or imaginary (1) part."""
    return write.op("Gather", tensor, write.constant(which, "int64"), dtype=FLOAT, axis=-1)


def _complex(write: Writer, real: str, imaginary: str | None = None) -> str:
    if imaginary is None:
        imaginary = write.op("Mul", real, write.constant(0.0, "float32"), dtype=FLOAT)
    return write.op("Concat", write.unsqueeze(real, -1), write.unsqueeze(imaginary, -1), dtype=FLOAT, axis=-1)


def _dft(write: Writer, tensor: str, rank: int, back: int, *, inverse: bool, length: int | None = None) -> str:
    """Transform a complex tensor along the axis ``back`` (1: the last of the ``rank`` axes that TensorFlow counts)."""
    inputs = [tensor] if length is None else [tensor, write.constant(length, "int64")]
    axis = rank - back
    if rank == 1:  # DFT wants an axis before the transformed one
        inputs[0] = write.unsqueeze(inputs[0], 0)
        axis = 1
    found = write.op("DFT", *inputs, dtype=FLOAT, axis=axis, inverse=int(inverse))
    return write.squeeze(found, 0) if rank == 1 else found


@tf_op(["FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"])
class ComplexTransform:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, rank = Writer(ctx, node), len(ctx.get_shape(node.output[0]))
        tensor = node.input[0]
        for back in range(1, _axes(node.type) + 1):
            tensor = _dft(write, tensor, rank, back, inverse=node.type.startswith("I"))
        write.finish("Identity", tensor, dtype=FLOAT)


def _axes(kind: str) -> int:
    return int(kind[-2]) if kind.endswith("D") else 1


@tf_op(["RFFT", "RFFT2D"])
class RealTransform:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, rank = Writer(ctx, node), len(ctx.get_shape(node.output[0]))
        lengths = [int(size) for size in write.value(1)]
        tensor = _complex(write, node.input[0])
        for back in range(1, _axes(node.type) + 1):
            tensor = _dft(write, tensor, rank, back, inverse=False, length=lengths[-back])
        half = lengths[-1] // 2 + 1
        write.finish("Slice", tensor, write.integers(0), write.integers(half), write.integers(rank - 1), dtype=FLOAT)


@tf_op(["IRFFT", "IRFFT2D"])
class RealInverse:
    """The half of the spectrum that is not given is the given half's conjugate, in reverse order."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        import numpy as np

        write, rank = Writer(ctx, node), len(ctx.get_shape(node.output[0]))
        lengths = [int(size) for size in write.value(1)]
        tensor = node.input[0]
        for back in range(_axes(node.type), 1, -1):
            tensor = _dft(write, tensor, rank, back, inverse=True, length=lengths[-back])
        length = lengths[-1]
        half = length // 2 + 1
        places = [*range(half), *(length - place for place in range(half, length))]
        signs = np.ones((length, 2), np.float32)
        signs[half:, 1] = -1
        whole = write.op("Gather", tensor, write.integers(*places), dtype=FLOAT, axis=rank - 1)
        whole = write.op("Mul", whole, write.constant(signs), dtype=FLOAT)
        write.finish(
            "Gather", _dft(write, whole, rank, 1, inverse=True), write.constant(0, "int64"), dtype=FLOAT, axis=-1
        )


@tf_op("Complex")
class Complex:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        shape = write.op("Shape", write.op("Add", *node.input, dtype=FLOAT))  # both parts may be broadcast
        parts = [write.unsqueeze(write.op("Expand", part, shape, dtype=FLOAT), -1) for part in node.input]
        write.finish("Concat", *parts, dtype=FLOAT, axis=-1)


@tf_op(["Real", "Imag"])
class Part:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        which = write.constant(int(node.type == "Imag"), "int64")
        write.finish("Gather", node.input[0], which, dtype=FLOAT, axis=-1)


@tf_op("Conj")
class Conjugate:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        write.finish("Mul", node.input[0], write.constant([1, -1], "float32"), dtype=FLOAT)


@tf_op("ComplexAbs")
class ComplexAbs:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        write.finish("ReduceL2", node.input[0], dtype=FLOAT, axes=[-1], keepdims=0)
