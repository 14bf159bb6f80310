"""Fourier transforms and what stands around them.

ONNX has no complex numbers: a complex tensor of shape [..., n] becomes a real one of shape [..., n, 2], real part first.
Transforms are written as ``DFT`` over complex numbers also where the input is real, because OpenVINO's form for real input
returns another shape than ONNX's definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import FLOAT, Writer

PRODUCT_LENGTH = 2048


def _part(write: Writer, tensor: str, which: int) -> str:
    """Real (0) or imaginary (1) part."""
    return write.op("Gather", tensor, write.constant(which, "int64"), dtype=FLOAT, axis=-1)


def _complex(write: Writer, real: str, imaginary: str | None = None) -> str:
    if imaginary is None:
        imaginary = write.op("Mul", real, write.constant(0.0, "float32"), dtype=FLOAT)
    return write.op("Concat", write.unsqueeze(real, -1), write.unsqueeze(imaginary, -1), dtype=FLOAT, axis=-1)


@dataclass(frozen=True)
class Axis:
    """One axis to transform: the ``back``-th from the end of the ``rank`` that TensorFlow counts.

    ``size`` is the number of entries there, ``None`` where it is free; they are cut or filled with zeros to ``length``.
    """

    rank: int
    back: int
    size: int | None
    length: int | None = None


def _dft(write: Writer, tensor: str, axis: Axis, *, inverse: bool) -> str:
    """Transform a complex tensor along one axis.

    ONNX Runtime and OpenVINO lose three digits where the length is not a power of two. There, and up to
    :data:`PRODUCT_LENGTH`, the transform is a product with the matrix of its roots of unity.
    """
    length = axis.length or axis.size
    if axis.size is not None and length is not None and length & (length - 1) and length <= PRODUCT_LENGTH:
        return _product(write, tensor, axis, length, inverse=inverse)
    inputs = [tensor] if axis.length is None else [tensor, write.constant(axis.length, "int64")]
    place = axis.rank - axis.back
    if axis.rank == 1:  # DFT wants an axis before the transformed one
        inputs[0] = write.unsqueeze(inputs[0], 0)
        place = 1
    found = write.op("DFT", *inputs, dtype=FLOAT, axis=place, inverse=int(inverse))
    return write.squeeze(found, 0) if axis.rank == 1 else found


def _product(write: Writer, tensor: str, axis: Axis, length: int, *, inverse: bool) -> str:
    """(a + ib)(C + isS) = aC - sbS + i(saS + bC), with s = 1 for the inverse, which is divided by the length, and -1 else."""
    import numpy as np

    size = min(axis.size or length, length)
    angles = 2 * np.pi * (np.outer(np.arange(size), np.arange(length)) % length) / length
    scale, sign = (1 / length, 1) if inverse else (1, -1)
    cosines, sines = (write.constant(part * scale, "float32") for part in (np.cos(angles), sign * np.sin(angles)))
    turned = list(range(axis.rank))
    turned[-1], turned[-axis.back] = turned[-axis.back], turned[-1]
    parts = []
    for which in (0, 1):
        part = write.slice(_part(write, tensor, which), axis.rank - axis.back, 0, size)
        parts.append(write.op("Transpose", part, dtype=FLOAT, perm=turned) if axis.back > 1 else part)
    a, b = parts
    real = write.op("Sub", write.op("MatMul", a, cosines), write.op("MatMul", b, sines), dtype=FLOAT)
    imaginary = write.op("Add", write.op("MatMul", a, sines), write.op("MatMul", b, cosines), dtype=FLOAT)
    if axis.back > 1:
        real, imaginary = (write.op("Transpose", part, dtype=FLOAT, perm=turned) for part in (real, imaginary))
    return _complex(write, real, imaginary)


def _sizes(ctx: Any, tensor: str, rank: int) -> list[int | None]:
    """Sizes of a TensorFlow tensor of so many axes; ``None`` where free."""
    shape = ctx.get_shape(tensor)
    return [size if size > 0 else None for size in shape[:rank]] if shape is not None else [None] * rank


@tf_op(["FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"])
class ComplexTransform:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, rank = Writer(ctx, node), len(ctx.get_shape(node.output[0]))
        tensor, sizes = node.input[0], _sizes(ctx, node.output[0], rank)
        for back in range(1, _axes(node.type) + 1):
            tensor = _dft(write, tensor, Axis(rank, back, sizes[-back]), inverse=node.type.startswith("I"))
        write.finish("Identity", tensor, dtype=FLOAT)


def _axes(kind: str) -> int:
    return int(kind[-2]) if kind.endswith("D") else 1


@tf_op(["RFFT", "RFFT2D"])
class RealTransform:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, rank = Writer(ctx, node), len(ctx.get_shape(node.output[0]))
        lengths, sizes = [int(size) for size in write.value(1)], _sizes(ctx, node.input[0], rank)
        tensor = _complex(write, node.input[0])
        for back in range(1, _axes(node.type) + 1):
            tensor = _dft(write, tensor, Axis(rank, back, sizes[-back], lengths[-back]), inverse=False)
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
        tensor, length = node.input[0], lengths[-1]
        for back in range(_axes(node.type), 1, -1):
            tensor = _dft(write, tensor, Axis(rank, back, lengths[-back], lengths[-back]), inverse=True)
        half = length // 2 + 1
        places = [*range(half), *(length - place for place in range(half, length))]
        signs = np.ones((length, 2), np.float32)
        signs[half:, 1] = -1
        whole = write.op("Gather", tensor, write.integers(*places), dtype=FLOAT, axis=rank - 1)
        whole = write.op("Mul", whole, write.constant(signs), dtype=FLOAT)
        found = _dft(write, whole, Axis(rank, 1, length), inverse=True)
        write.finish("Gather", found, write.constant(0, "int64"), dtype=FLOAT, axis=-1)


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
