"""Fourier transforms and operations on complex numbers.

ONNX has no complex numbers: a complex tensor of shape [..., n] becomes a real one of shape [..., n, 2], real part first.
Transforms are written as ``DFT`` over complex numbers also for real input, because OpenVINO's form for real input returns
another shape than ONNX's definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.export.handlers.nodes import FLOAT, Writer, replaces

PRODUCT_LENGTH = 2048


def _part(write: Writer, tensor: str, which: int) -> str:
    """Real (0) or imaginary (1) part."""
    return write.op("Gather", tensor, write.integer(which), dtype=FLOAT, axis=-1)


def _complex(write: Writer, real: str, imaginary: str | None = None) -> str:
    if imaginary is None:
        imaginary = write.op("Mul", real, write.floats(0.0), dtype=FLOAT)
    return write.op("Concat", write.unsqueeze(real, -1), write.unsqueeze(imaginary, -1), dtype=FLOAT, axis=-1)


@dataclass(frozen=True)
class Axis:
    """One axis to transform: the ``back``-th from the end of the ``rank`` axes of the TensorFlow tensor.

    ``size`` is its number of entries, ``None`` if it is free; they are truncated or padded with zeros to ``length``.
    """

    rank: int
    back: int
    size: int | None
    length: int | None = None


def _dft(write: Writer, tensor: str, axis: Axis, *, inverse: bool) -> str:
    """Transform a complex tensor along one axis.

    ONNX Runtime and OpenVINO lose three digits if the length is not a power of two. For such lengths up to
    :data:`PRODUCT_LENGTH`, the transform is a product with the matrix of its roots of unity.
    """
    length = axis.length or axis.size
    if axis.size is not None and length is not None and length & (length - 1) and length <= PRODUCT_LENGTH:
        return _product(write, tensor, axis, length, inverse=inverse)
    inputs = [tensor] if axis.length is None else [tensor, write.integer(axis.length)]
    place = axis.rank - axis.back
    if axis.rank == 1:  # DFT needs an axis before the transformed one
        inputs[0] = write.unsqueeze(inputs[0], 0)
        place = 1
    found = write.op("DFT", *inputs, dtype=FLOAT, axis=place, inverse=int(inverse))
    return write.squeeze(found, 0) if axis.rank == 1 else found


def _product(write: Writer, tensor: str, axis: Axis, length: int, *, inverse: bool) -> str:
    """(a + ib)(C + isS) = aC - sbS + i(saS + bC), with s = 1 for the inverse, which is divided by the length, else -1."""
    size = min(axis.size or length, length)
    angles = 2 * np.pi * (np.outer(np.arange(size), np.arange(length)) % length) / length
    scale, sign = (1 / length, 1) if inverse else (1, -1)
    cosines, sines = (write.floats(part * scale) for part in (np.cos(angles), sign * np.sin(angles)))
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
    """The sizes of the first ``rank`` axes of a TensorFlow tensor; ``None``: free."""
    shape = ctx.get_shape(tensor)
    return [size if size > 0 else None for size in shape[:rank]] if shape is not None else [None] * rank


@replaces("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")
def complex_transform(write: Writer) -> None:
    rank = len(write.ctx.get_shape(write.node.output[0]))
    tensor, sizes = write.node.input[0], _sizes(write.ctx, write.node.output[0], rank)
    for back in range(1, _axes(write.node.type) + 1):
        tensor = _dft(write, tensor, Axis(rank, back, sizes[-back]), inverse=write.node.type.startswith("I"))
    write.finish("Identity", tensor, dtype=FLOAT)


def _axes(kind: str) -> int:
    return int(kind[-2]) if kind.endswith("D") else 1


@replaces("RFFT", "RFFT2D")
def real_transform(write: Writer) -> None:
    rank = len(write.ctx.get_shape(write.node.output[0]))
    lengths, sizes = [int(size) for size in write.value(1)], _sizes(write.ctx, write.node.input[0], rank)
    tensor = _complex(write, write.node.input[0])
    for back in range(1, _axes(write.node.type) + 1):
        tensor = _dft(write, tensor, Axis(rank, back, sizes[-back], lengths[-back]), inverse=False)
    half = lengths[-1] // 2 + 1
    write.finish("Slice", tensor, write.integers(0), write.integers(half), write.integers(rank - 1), dtype=FLOAT)


@replaces("IRFFT", "IRFFT2D")
def real_inverse(write: Writer) -> None:
    """The missing half of the spectrum is the conjugate of the given half, in reverse order."""
    rank = len(write.ctx.get_shape(write.node.output[0]))
    lengths = [int(size) for size in write.value(1)]
    tensor, length = write.node.input[0], lengths[-1]
    for back in range(_axes(write.node.type), 1, -1):
        tensor = _dft(write, tensor, Axis(rank, back, lengths[-back], lengths[-back]), inverse=True)
    half = length // 2 + 1
    places = [*range(half), *(length - place for place in range(half, length))]
    signs = np.ones((length, 2), np.float32)
    signs[half:, 1] = -1
    whole = write.op("Gather", tensor, write.integers(*places), dtype=FLOAT, axis=rank - 1)
    whole = write.op("Mul", whole, write.constant(signs), dtype=FLOAT)
    found = _dft(write, whole, Axis(rank, 1, length), inverse=True)
    write.finish("Gather", found, write.integer(0), dtype=FLOAT, axis=-1)


@replaces("Complex")
def complex_number(write: Writer) -> None:
    shape = write.op("Shape", write.op("Add", *write.node.input, dtype=FLOAT))  # both parts may be broadcast
    parts = [write.unsqueeze(write.op("Expand", part, shape, dtype=FLOAT), -1) for part in write.node.input]
    write.finish("Concat", *parts, dtype=FLOAT, axis=-1)


@replaces("Real", "Imag")
def real_or_imaginary(write: Writer) -> None:
    which = write.integer(int(write.node.type == "Imag"))
    write.finish("Gather", write.node.input[0], which, dtype=FLOAT, axis=-1)


@replaces("Conj")
def conjugate(write: Writer) -> None:
    write.finish("Mul", write.node.input[0], write.floats([1, -1]), dtype=FLOAT)


@replaces("ComplexAbs")
def complex_abs(write: Writer) -> None:
    write.finish("ReduceL2", write.node.input[0], dtype=FLOAT, axes=[-1], keepdims=0)
