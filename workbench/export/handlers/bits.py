"""Operations on the bits of whole numbers, and the sign bit of floats, by arithmetic: ONNX has them from opset 18 on only."""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import BOOL, INT64, Writer

FLOATS = (1, 10, 11)  # ONNX's numbers for float32, float16 and float64
UNSIGNED = {2: 8, 4: 16, 12: 32}  # ONNX number → bits; uint64 is left out, because int64 cannot hold it
SIGNED = {3: 8, 5: 16, 6: 32, 7: 64}
HALF = 32


@tf_op("Bitcast")
class Bitcast:
    """Only to read the sign bit, as Keras does in ``signbit`` and ``argmax``; the float itself is handed on."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        readers = ctx.find_output_consumers(node.output[0])
        if ctx.get_dtype(node.input[0]) != FLOATS[0] or not readers or not all(map(_reads_sign, readers)):
            raise ValueError("the bits of a number cannot be read as another type")
        Writer(ctx, node).finish("Identity", node.input[0], dtype=FLOATS[0])


def _reads_sign(node: Any) -> bool:
    if node.type != "BitwiseAnd":
        return False
    return any(each.is_const() and (each.get_tensor_value(as_list=False) == -(2**31)).all() for each in node.inputs)


@tf_op(["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
class Bitwise:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        kinds = [ctx.get_dtype(name) for name in node.input]
        if node.type == "BitwiseAnd" and set(kinds) & set(FLOATS):
            number = next(n for n, kind in enumerate(kinds) if kind in FLOATS)
            _sign_bit(write, node.input[number], node.input[1 - number])
            return
        kind = kinds[0]
        if kind not in SIGNED and kind not in UNSIGNED:
            raise ValueError("bits of 64-bit unsigned numbers cannot be read")
        first, second = (write.cast(name, INT64) for name in node.input)
        bits = SIGNED.get(kind, UNSIGNED.get(kind, 0))
        if bits <= HALF:
            total = _combined(write, node.type, first, second, bits)
            total = _two_complement(write, total, bits) if kind in SIGNED else total
        else:
            total = _halves(write, node.type, first, second)
        write.finish("Cast", total, to=kind)


def _sign_bit(write: Writer, number: str, mask: str) -> None:
    """``mask`` where ``number`` is negative or negative zero, 0 elsewhere."""
    zero = write.constant(0.0, "float32")
    below = write.op("Less", number, zero, dtype=BOOL)
    inverse = write.op("Div", write.constant(1.0, "float32"), number)
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
    """The bits along a new last axis, lowest first: (x mod 2^(k+1) - x mod 2^k) / 2^k, with ONNX's Mod, never negative."""
    column = write.unsqueeze(number, -1)
    low = write.integers(*(2**bit for bit in range(bits)))
    high = write.integers(*(2 ** (bit + 1) for bit in range(bits)))
    above, below = (write.op("Mod", column, each, dtype=INT64) for each in (high, low))
    return write.op("Div", write.op("Sub", above, below, dtype=INT64), low, dtype=INT64)


def _two_complement(write: Writer, number: str, bits: int) -> str:
    """A number from 0 to 2^bits - 1 as a signed one."""
    half = write.constant(2 ** (bits - 1), "int64")
    over = write.cast(write.op("GreaterOrEqual", number, half, dtype=BOOL), INT64)
    return write.op("Sub", number, write.op("Mul", over, write.constant(2**bits, "int64"), dtype=INT64), dtype=INT64)


def _halves(write: Writer, how: str, first: str, second: str) -> str:
    """64-bit numbers in two halves of 32 bits."""
    size = write.constant(2**HALF, "int64")
    lows = [write.op("Mod", each, size, dtype=INT64) for each in (first, second)]
    highs = [
        write.op("Div", write.op("Sub", each, low, dtype=INT64), size, dtype=INT64)
        for each, low in zip((first, second), lows, strict=True)
    ]
    low, high = (_combined(write, how, pair[0], pair[1], HALF) for pair in (lows, highs))
    return write.op("Add", write.op("Mul", _two_complement(write, high, HALF), size, dtype=INT64), low, dtype=INT64)


@tf_op("Invert")
class Invert:
    """All bits turned: -1 - x for signed numbers, the largest number less x for unsigned ones."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, kind = Writer(ctx, node), ctx.get_dtype(node.input[0])
        if kind not in SIGNED and kind not in UNSIGNED:
            raise ValueError("bits of 64-bit unsigned numbers cannot be read")
        largest = 2 ** UNSIGNED[kind] - 1 if kind in UNSIGNED else -1
        number = write.cast(node.input[0], INT64)
        write.finish("Cast", write.op("Sub", write.constant(largest, "int64"), number, dtype=INT64), to=kind)
