"""Operations on whole arrays: cross product, broadcast shape, positions in sorted boundaries, and the update of a slice.

The position of a value is the number of boundaries that are not greater than it (or that are smaller).
"""

from __future__ import annotations

from workbench.export.handlers.nodes import BOOL, FLOAT, INT64, Writer, replaces


@replaces("Cross")
def cross(write: Writer) -> None:
    """The cross product along the last axis, of size 3: a₁b₂ - a₂b₁, with the entries rotated by one and two."""
    next_one, next_two = write.integers(1, 2, 0), write.integers(2, 0, 1)
    a, b = write.node.input
    a1, a2 = (write.op("Gather", a, each, axis=-1) for each in (next_one, next_two))
    b1, b2 = (write.op("Gather", b, each, axis=-1) for each in (next_one, next_two))
    write.finish("Sub", write.op("Mul", a1, b2), write.op("Mul", a2, b1))


@replaces("BroadcastArgs")
def broadcast_args(write: Writer) -> None:
    """The broadcast shape: the shorter shape is padded with ones in front; of each pair of sizes, the one that is not 1."""
    kind = write.ctx.get_dtype(write.node.input[0])
    lengths = [write.sizes(number, (0,))[0] for number in (0, 1)]
    one, padded = write.constant(1, kind), []
    for tensor, length in zip(write.node.input, lengths, strict=True):
        missing = max(lengths) - length
        ones = write.constant([1] * missing, kind)
        padded.append(write.op("Concat", ones, tensor, axis=0, dtype=kind) if missing else tensor)
    is_one = write.op("Equal", padded[0], one, dtype=BOOL)
    write.finish("Where", is_one, padded[1], padded[0])


def _count(write: Writer, values: str, boundaries: str, how: str) -> None:
    passed = write.op(how, write.unsqueeze(values, -1), boundaries, dtype=BOOL)
    total = write.op("ReduceSum", write.cast(passed, INT64), write.integers(-1), dtype=INT64, keepdims=0)
    write.finish("Cast", total, to=write.ctx.get_dtype(write.node.output[0]))


@replaces("Bucketize")
def bucketize(write: Writer) -> None:
    """Count the boundaries up to and including the value; boundaries are 32-bit floats."""
    boundaries = write.floats(list(write.node.attr["boundaries"].floats))
    values = write.cast(write.node.input[0], FLOAT)
    _count(write, values, boundaries, "GreaterOrEqual")


@replaces("LowerBound", "UpperBound")
def bound(write: Writer) -> None:
    """Both search values [rows, n] in boundaries [rows, m] row by row."""
    how = "Greater" if write.node.type == "LowerBound" else "GreaterOrEqual"
    _count(write, write.node.input[1], write.unsqueeze(write.node.input[0], 1), how)


@replaces("XlaDynamicUpdateSlice")
def dynamic_update_slice(write: Writer) -> None:
    """``ScatterND`` at the indices of the slice, for Keras' ``ops.slice_update``. As in XLA, the start is clamped so that the slice stays inside."""
    rank = write.rank(0)
    whole, part, starts = write.node.input
    sizes = write.op("Shape", part, dtype=INT64)
    room = write.op("Sub", write.op("Shape", whole, dtype=INT64), sizes, dtype=INT64)
    starts = write.op("Min", write.cast(starts, INT64), room, dtype=INT64)
    starts = write.op("Max", starts, write.integers(*(0,) * rank), dtype=INT64)
    places = []
    for axis in range(rank):
        size = write.squeeze(write.slice(sizes, 0, axis, axis + 1), 0)
        steps = write.op("Range", write.integer(0), size, write.integer(1), dtype=INT64)
        line = write.op("Add", steps, write.slice(starts, 0, axis, axis + 1), dtype=INT64)
        line = write.op("Reshape", line, write.integers(*(-1 if each == axis else 1 for each in range(rank))))
        places.append(write.unsqueeze(write.op("Expand", line, sizes, dtype=INT64), -1))
    write.finish("ScatterND", whole, write.op("Concat", *places, dtype=INT64, axis=-1), part)
