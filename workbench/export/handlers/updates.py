"""``XlaDynamicUpdateSlice``: a part of a tensor overwritten, which Keras writes for ``ops.slice_update``."""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op

from workbench.export.handlers.nodes import INT64, Writer


@tf_op("XlaDynamicUpdateSlice")
class DynamicUpdateSlice:
    """``ScatterND`` at the places that the slice covers. Like XLA, a start is moved so that the slice stays inside."""

    @classmethod
    def version_17(cls, ctx: Any, node: Any, **_: Any) -> None:
        write, rank = Writer(ctx, node), Writer(ctx, node).rank(0)
        whole, part, starts = node.input
        sizes = write.op("Shape", part, dtype=INT64)
        room = write.op("Sub", write.op("Shape", whole, dtype=INT64), sizes, dtype=INT64)
        starts = write.op("Min", write.cast(starts, INT64), room, dtype=INT64)
        starts = write.op("Max", starts, write.integers(*(0,) * rank), dtype=INT64)
        places = []
        for axis in range(rank):
            size = write.squeeze(write.slice(sizes, 0, axis, axis + 1), 0)
            steps = write.op("Range", write.constant(0, "int64"), size, write.constant(1, "int64"), dtype=INT64)
            line = write.op("Add", steps, write.slice(starts, 0, axis, axis + 1), dtype=INT64)
            line = write.op("Reshape", line, write.integers(*(-1 if each == axis else 1 for each in range(rank))))
            places.append(write.unsqueeze(write.op("Expand", line, sizes, dtype=INT64), -1))
        write.finish("ScatterND", whole, write.op("Concat", *places, dtype=INT64, axis=-1), part)
