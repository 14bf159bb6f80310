"""Colours: ``RGBToHSV`` and ``HSVToRGB``, with the formulas of ``tensorflow/core/kernels/image/colorspace_op.h``."""

from __future__ import annotations

from workbench.export.handlers.nodes import BOOL, Writer, replaces


@replaces("RGBToHSV")
def to_hsv(write: Writer) -> None:
    """V = max; s = (max - min) / max; h from the differences of the two other channels, in sixths of the circle."""
    kind = write.dtype(0)
    zero = write.constant(0, kind)
    red, green, blue = (write.slice(write.node.input[0], -1, at, at + 1) for at in range(3))
    value = write.op("Max", red, green, blue)
    span = write.op("Sub", value, write.op("Min", red, green, blue))
    saturation = _ratio(write, span, value, zero)
    unit = _ratio(write, write.constant(1 / 6, kind), span, zero)
    hues = []
    for first, second, offset in ((green, blue, 0.0), (blue, red, 2 / 6), (red, green, 4 / 6)):
        moved = write.op("Mul", unit, write.op("Sub", first, second))
        hues.append(write.op("Add", moved, write.constant(offset, kind)))
    hue = write.op("Where", write.op("Equal", green, value, dtype=BOOL), hues[1], hues[2])
    hue = write.op("Where", write.op("Equal", red, value, dtype=BOOL), hues[0], hue)
    hue = write.op("Where", write.op("Greater", span, zero, dtype=BOOL), hue, zero)
    around = write.op("Add", hue, write.constant(1, kind))
    hue = write.op("Where", write.op("Less", hue, zero, dtype=BOOL), around, hue)
    write.finish("Concat", hue, saturation, value, axis=-1)


def _ratio(write: Writer, top: str, bottom: str, zero: str) -> str:
    """``top / bottom`` where ``bottom`` is positive, 0 elsewhere."""
    positive = write.op("Greater", bottom, zero, dtype=BOOL)
    safe = write.op("Where", positive, bottom, write.constant(1, write.dtype(0)))
    return write.op("Where", positive, write.op("Div", top, safe), zero)


@replaces("HSVToRGB")
def to_rgb(write: Writer) -> None:
    """Each channel is v (1 - s + s k), with k a trapezium of the hue from 0 to 1."""
    kind = write.dtype(0)
    zero, one = write.constant(0, kind), write.constant(1, kind)
    hue, saturation, value = (write.slice(write.node.input[0], -1, at, at + 1) for at in range(3))
    sixths = write.op("Mul", hue, write.constant(6, kind))

    def away(centre: float) -> str:
        return write.op("Abs", write.op("Sub", sixths, write.constant(centre, kind)))

    two = write.constant(2, kind)
    shares = (write.op("Sub", away(3), one), write.op("Sub", two, away(2)), write.op("Sub", two, away(4)))
    channels = []
    for share in shares:
        bounded = write.op("Min", write.op("Max", share, zero), one)
        colour = write.op("Add", write.op("Sub", one, saturation), write.op("Mul", saturation, bounded))
        channels.append(write.op("Mul", colour, value))
    write.finish("Concat", *channels, axis=-1)
