"""Bitwise operations on integers, and the sign bit of floats, by arithmetic: ONNX has them only from opset 18."""

from __future__ import annotations

from typing import Any

from workbench.export.handlers.nodes import BOOL, INT64, Writer, replaces

FLOATS = (1, 10, 11)  # ONNX type numbers of float32, float16 and float64
UNSIGNED = {2: 8, 4: 16, 12: 32}  # ONNX number → bits; uint64 is left out, because int64 cannot hold it
SIGNED = {3: 8, 5: 16, 6: 32, 7: 64}
HALF = 32


@replaces("Bitcast")
def bitcast(write: Writer) -> None:
    """Only for reading the sign bit, as Keras does in ``signbit`` and ``argmax``; the float itself is passed on."""
    readers = write.ctx.find_output_consumers(write.node.output[0])
    if write.ctx.get_dtype(write.node.input[0]) != FLOATS[0] or not readers or not all(map(_reads_sign, readers)):
        raise ValueError("the bits of a number cannot be read as another type")
    write.finish("Identity", write.node.input[0], dtype=FLOATS[0])


def _reads_sign(node: Any) -> bool:
    if node.type != "BitwiseAnd":
        return False
    return any(each.is_const() and (each.get_tensor_value(as_list=False) == -(2**31)).all() for each in node.inputs)


@replaces("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(write: Writer) -> None:
    kinds = [write.ctx.get_dtype(name) for name in write.node.input]
    if write.node.type == "BitwiseAnd" and set(kinds) & set(FLOATS):
        number = next(n for n, kind in enumerate(kinds) if kind in FLOATS)
        _sign_bit(write, write.node.input[number], write.node.input[1 - number])
        return
    kind = kinds[0]
    if kind not in SIGNED and kind not in UNSIGNED:
        raise ValueError("bits of 64-bit unsigned numbers cannot be read")
    first, second = (write.cast(name, INT64) for name in write.node.input)
    bits = SIGNED.get(kind, UNSIGNED.get(kind, 0))
    if bits <= HALF:
        total = _combined(write, write.node.type, first, second, bits)
        total = _two_complement(write, total, bits) if kind in SIGNED else total
    else:
        total = _halves(write, write.node.type, first, second)
    write.finish("Cast", total, to=kind)


def _sign_bit(write: Writer, number: str, mask: str) -> None:
    """``mask`` where ``number`` is negative or negative zero, 0 elsewhere."""
    zero = write.floats(0.0)
    below = write.op("Less", number, zero, dtype=BOOL)
    inverse = write.op("Div", write.floats(1.0), number)
    negative_zero = write.op(
        "And", write.op("Equal", number, zero, dtype=BOOL), write.op("Less", inverse, zero, dtype=BOOL), dtype=BOOL
    )
    kind = write.ctx.get_dtype(mask)
    write.finish("Where", write.op("Or", below, negative_zero, dtype=BOOL), mask, write.constant(0, kind))


def _combined(write: Writer, how: str, first: str, second: str, bits: int) -> str:
    """The result as a number from 0 to 2^bits - 1. Both are taken modulo 2^bits, which is the two's complement."""
    parts = [_bits(write, each, bits) for each in (first, second)]
    if how == "BitwiseAnd":
        joined = write.op("Mul", *parts, dtype=INT64)
    elif how == "BitwiseOr":
        joined = write.op("Max", *parts, dtype=INT64)
    else:
        joined = write.op("Abs", write.op("Sub", *parts, dtype=INT64), dtype=INT64)
    weighted = write.op("Mul", joined, write.integers(*(2**bit for bit in range(bits))), dtype=INT64)
    return write.op("ReduceSum", weighted, write.integers(-1), dtype=INT64, keepdims=0)


def _bits(write: Writer, number: str, bits: int) -> str:
    """The bits along a new last axis, lowest first: (x mod 2^(k+1) - x mod 2^k) / 2^k, with ONNX's Mod, which is never negative."""
    column = write.unsqueeze(number, -1)
    low = write.integers(*(2**bit for bit in range(bits)))
    high = write.integers(*(2 ** (bit + 1) for bit in range(bits)))
    above, below = (write.op("Mod", column, each, dtype=INT64) for each in (high, low))
    return write.op("Div", write.op("Sub", above, below, dtype=INT64), low, dtype=INT64)


def _two_complement(write: Writer, number: str, bits: int) -> str:
    """A number from 0 to 2^bits - 1 as a signed one."""
    half = write.integer(2 ** (bits - 1))
    over = write.cast(write.op("GreaterOrEqual", number, half, dtype=BOOL), INT64)
    return write.op("Sub", number, write.op("Mul", over, write.integer(2**bits), dtype=INT64), dtype=INT64)


def _halves(write: Writer, how: str, first: str, second: str) -> str:
    """64-bit numbers in two halves of 32 bits."""
    size = write.integer(2**HALF)
    lows = [write.op("Mod", each, size, dtype=INT64) for each in (first, second)]
    highs = [
        write.op("Div", write.op("Sub", each, low, dtype=INT64), size, dtype=INT64)
        for each, low in zip((first, second), lows, strict=True)
    ]
    low, high = (_combined(write, how, pair[0], pair[1], HALF) for pair in (lows, highs))
    return write.op("Add", write.op("Mul", _two_complement(write, high, HALF), size, dtype=INT64), low, dtype=INT64)


@replaces("Invert")
def invert(write: Writer) -> None:
    """Invert all bits: -1 - x for signed numbers, the largest number minus x for unsigned ones."""
    kind = write.ctx.get_dtype(write.node.input[0])
    if kind not in SIGNED and kind not in UNSIGNED:
        raise ValueError("bits of 64-bit unsigned numbers cannot be read")
    largest = 2 ** UNSIGNED[kind] - 1 if kind in UNSIGNED else -1
    number = write.cast(write.node.input[0], INT64)
    write.finish("Cast", write.op("Sub", write.integer(largest), number, dtype=INT64), to=kind)
