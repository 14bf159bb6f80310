"""Places in sorted boundaries: ``Bucketize``, ``LowerBound`` and ``UpperBound``.

The place of a value is the number of boundaries that are not greater than it (or are smaller than it).
"""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import BOOL, FLOAT, INT64, Writer


def _count(write: Writer, values: str, boundaries: str, how: str, dtype: int) -> None:
    passed = write.op(how, write.unsqueeze(values, -1), boundaries, dtype=BOOL)
    total = write.op("ReduceSum", write.cast(passed, INT64), write.integers(-1), dtype=INT64, keepdims=0)
    write.finish("Cast", total, to=dtype)


@tf_op("Bucketize")
class Bucketize:
    """Counts boundaries up to the value itself; boundaries are 32-bit floats."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        boundaries = write.constant(list(node.attr["boundaries"].floats), "float32")
        values = write.cast(node.input[0], FLOAT)
        _count(write, values, boundaries, "GreaterOrEqual", ctx.get_dtype(node.output[0]))


@tf_op(["LowerBound", "UpperBound"])
class Bound:
    """Both take boundaries [rows, m] and values [rows, n], and search row by row."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write = Writer(ctx, node)
        how = "Greater" if node.type == "LowerBound" else "GreaterOrEqual"
        _count(write, node.input[1], write.unsqueeze(node.input[0], 1), how, ctx.get_dtype(node.output[0]))
