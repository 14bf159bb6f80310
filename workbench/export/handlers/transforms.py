"""Projective transforms of images (``keras.ops.image.affine_transform``) by ONNX's GridSample.

The source position of each output pixel is computed as in ``tensorflow/core/kernels/image/image_ops.h``, including the fill mode,
because GridSample rounds halves to even, while TensorFlow rounds them away from zero, and has no wrapping. GridSample only
interpolates.
"""

from __future__ import annotations

from workbench.export.handlers.nodes import BOOL, FLOAT, INT64, Writer, replaces

FAR = -10.0
"""A position outside every image."""


@replaces("ImageProjectiveTransformV3")
def projective(write: Writer) -> None:
    """Inputs: images [n, h, w, c], transforms [n or 1, 8], the output's height and width, the fill value."""
    images, kind = write.node.input[0], write.dtype(0)
    mode, interpolation = (write.node.attr[name].s.decode().upper() for name in ("fill_mode", "interpolation"))
    shape = write.op("Shape", images, dtype=INT64)
    places, known = _places(write)
    grid = []
    for place, axis in zip(places, (2, 1), strict=True):  # x, then y
        size = write.cast(write.slice(shape, 0, axis, axis + 1), FLOAT)
        inside = _mapped(write, place, size, mode)
        if interpolation == "NEAREST":
            inside = _rounded(write, inside)
        inside = write.op("Where", known, inside, write.floats(FAR))
        # the centre of pixel 0 is half a pixel inside -1
        twice = write.op("Add", write.op("Mul", inside, write.floats(2)), write.floats(1))
        grid.append(write.unsqueeze(write.op("Sub", write.op("Div", twice, size), write.floats(1)), -1))
    ends = write.op("Concat", write.slice(shape, 0, 0, 1), write.integers(1, 1, 1), dtype=INT64, axis=0)
    full = write.op("Expand", write.op("Concat", *grid, axis=-1), ends)  # one transform may apply to all images
    fill = write.cast(write.node.input[3], FLOAT)
    above = write.op("Sub", write.cast(images, FLOAT), fill)
    sampled = write.op(
        "GridSample",
        write.op("Transpose", above, perm=[0, 3, 1, 2]),
        full,
        dtype=FLOAT,
        mode="nearest" if interpolation == "NEAREST" else "bilinear",
        padding_mode="zeros",
        align_corners=0,
    )
    filled = write.op("Add", write.op("Transpose", sampled, perm=[0, 2, 3, 1]), fill)
    write.finish("Cast", filled, to=kind)


def _places(write: Writer) -> tuple[list[str], str]:
    """The source position of each output pixel, x and y in pixels, [n, height, width], and whether it is defined."""
    size, transforms = write.cast(write.node.input[2], INT64), write.node.input[1]
    ranges = []
    for number, axis in ((1, 0), (0, 1)):  # x varies along the last axis, y along the one before
        end = write.squeeze(write.slice(size, 0, number, number + 1), 0)
        steps = write.op("Range", write.integer(0), end, write.integer(1), dtype=INT64)
        ranges.append(write.unsqueeze(write.cast(steps, FLOAT), axis))
    x, y = ranges
    parts = [write.unsqueeze(write.slice(transforms, 1, at, at + 1), 2) for at in range(8)]

    def line(first: int) -> str:
        return write.op("Add", write.op("Mul", parts[first], x), write.op("Mul", parts[first + 1], y))

    below = write.op("Add", line(6), write.floats(1))
    none = write.op("Equal", below, write.floats(0), dtype=BOOL)
    below = write.op("Where", none, write.floats(1), below)
    places = [write.op("Div", write.op("Add", line(first), parts[first + 2]), below) for first in (0, 3)]
    return places, write.op("Not", none, dtype=BOOL)


def _rounded(write: Writer, place: str) -> str:
    """Round to the nearest integer, halves away from zero."""
    up = write.op("Floor", write.op("Add", write.op("Abs", place), write.floats(0.5)))
    return write.op("Mul", write.op("Sign", place), up)


def _whole_times(write: Writer, place: str, size: str) -> str:
    """The integer quotient ``place // size``, both positive; ``size`` 0 counts as 1."""
    return write.op("Floor", write.op("Div", place, write.op("Max", size, write.floats(1))))


def _mapped(write: Writer, place: str, size: str, mode: str) -> str:
    """Map a position into an axis of ``size`` pixels, as ``MapCoordinate`` of the fill mode does.

    Raises:
        ValueError: the fill mode does not exist in TensorFlow.
    """
    if mode == "CONSTANT":
        return place
    if mode not in ("NEAREST", "REFLECT", "WRAP"):
        raise ValueError(f"ImageProjectiveTransformV3 has no fill mode {mode}")
    last = write.op("Sub", size, write.floats(1))
    if mode != "NEAREST":
        low, high = _reflected(write, place, size) if mode == "REFLECT" else _wrapped(write, place, size, last)
        before = write.op("Less", place, write.floats(0), dtype=BOOL)
        after = write.op("Greater", place, last, dtype=BOOL)
        place = write.op("Where", before, low, write.op("Where", after, high, place))
    return write.op("Min", write.op("Max", place, write.floats(0)), last)


def _reflected(write: Writer, place: str, size: str) -> tuple[str, str]:
    """Positions in the image continued by its mirror image, below 0 and beyond the last pixel: [d c b a | a b c d | d c b a]."""
    double = write.op("Mul", size, write.floats(2))

    def mirrored(within: str) -> str:
        return write.op("Sub", write.op("Sub", double, within), write.floats(1))

    # below 0: -p - 1 is the mirror image of p
    low = write.op("Sub", write.op("Neg", place), write.floats(1))
    found = []
    for each in (low, place):
        times = write.op("Floor", write.op("Div", each, double))
        within = write.op("Sub", each, write.op("Mul", double, times))
        beyond = write.op("Less", within, size, dtype=BOOL)
        found.append(write.op("Where", beyond, within, mirrored(within)))
    return found[0], found[1]


def _wrapped(write: Writer, place: str, size: str, last: str) -> tuple[str, str]:
    """Positions in the image continued periodically: [a b c d | a b c d | a b c d]."""
    times = write.op("Add", _whole_times(write, write.op("Neg", place), last), write.floats(1))
    low = write.op("Add", place, write.op("Mul", size, times))
    high = write.op("Sub", place, write.op("Mul", size, _whole_times(write, place, last)))
    return low, high
