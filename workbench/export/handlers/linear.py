"""Linear algebra in three dimensions, and the shape that two tensors are broadcast to."""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import BOOL, Writer


@tf_op("Cross")
class Cross:
    """The cross product along the last axis, of size 3: a₁b₂ - a₂b₁, with the entries moved on by one and two."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        next_one, next_two = write.integers(1, 2, 0), write.integers(2, 0, 1)
        a, b = node.input
        a1, a2 = (write.op("Gather", a, each, axis=-1) for each in (next_one, next_two))
        b1, b2 = (write.op("Gather", b, each, axis=-1) for each in (next_one, next_two))
        write.finish("Sub", write.op("Mul", a1, b2), write.op("Mul", a2, b1))


@tf_op("BroadcastArgs")
class BroadcastArgs:
    """Two shapes, the shorter with ones in front; of each pair of sizes the one that is not 1 (0 counts as well)."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, kind = Writer(ctx, node), ctx.get_dtype(node.input[0])
        lengths = [write.sizes(number, (0,))[0] for number in (0, 1)]
        one, padded = write.constant(1, kind), []
        for tensor, length in zip(node.input, lengths, strict=True):
            missing = max(lengths) - length
            ones = write.constant([1] * missing, kind)
            padded.append(write.op("Concat", ones, tensor, axis=0, dtype=kind) if missing else tensor)
        is_one = write.op("Equal", padded[0], one, dtype=BOOL)
        write.finish("Where", is_one, padded[1], padded[0])
