"""Resizing of images by kernels: ``ScaleAndTranslate`` (Lanczos, antialiasing and others), ``ResizeArea``, ``ResizeBicubic``.

These are linear along height and along width: for fixed sizes, each is a product with a constant matrix of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tf2onnx.onnx_opset.nn import Resize

from workbench.export.handlers.free_sizes import Weights
from workbench.export.handlers.nodes import FLOAT, INT64, Writer, replaces


def _lanczos(radius: float) -> Callable[[float], float]:
    def kernel(x: float) -> float:
        x = abs(x)
        if x > radius:
            return 0.0
        if x <= 1e-3:  # TensorFlow's own limit
            return 1.0
        return radius * math.sin(math.pi * x) * math.sin(math.pi * x / radius) / (math.pi * x) ** 2

    return kernel


def _cubic(x: float, a: float, b: float) -> float:
    """The cubic kernel of Mitchell and Netravali (1988) with their parameters B = ``a`` and C = ``b``."""
    x = abs(x)
    if x >= 2:
        return 0.0
    if x >= 1:
        return ((-a - 6 * b) * x**3 + (6 * a + 30 * b) * x**2 + (-12 * a - 48 * b) * x + (8 * a + 24 * b)) / 6
    return ((12 - 9 * a - 6 * b) * x**3 + (-18 + 12 * a + 6 * b) * x**2 + (6 - 2 * a)) / 6


KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "lanczos1": (_lanczos(1.0), 1.0),
    "lanczos3": (_lanczos(3.0), 3.0),
    "lanczos5": (_lanczos(5.0), 5.0),
    "gaussian": (lambda x: math.exp(-(x * x) / (2 * 0.5**2)) if abs(x) < 1.5 else 0.0, 1.5),
    "box": (lambda x: 1.0 if abs(x) < 0.5 else 0.5 if abs(x) == 0.5 else 0.0, 1.0),
    "triangle": (lambda x: max(0.0, 1 - abs(x)), 1.0),
    "keyscubic": (lambda x: _cubic(x, 0.0, 0.5), 2.0),
    "mitchellcubic": (lambda x: _cubic(x, 1 / 3, 1 / 3), 2.0),
}
"""Kernel and radius by TensorFlow's name (``tensorflow/core/kernels/image/sampling_kernels.h``)."""


def kernel_weights(kind: str, old: int, new: int, scale: float, shift: float, *, antialias: bool) -> np.ndarray:
    """Weights [new, old] of TensorFlow's ``ScaleAndTranslate`` along one axis.

    An output at ``i`` samples the input at ``(i + 0.5 - shift) / scale``. With ``antialias`` the kernel is widened if the
    image shrinks. Rows with a position outside the input are zero, and others sum to 1 (``ComputeSpansCore`` in
    ``tensorflow/core/kernels/image/scale_and_translate_op.cc``).
    """
    kernel, radius = KERNELS[kind]
    inverse = 1 / scale
    width = max(inverse, 1.0) if antialias else 1.0
    weights = np.zeros((new, old))
    for row in range(new):
        place = (row + 0.5) * inverse - shift * inverse
        if not 0 <= place <= old:
            continue
        first = max(0, math.ceil(place - radius * width - 0.5))
        last = min(old - 1, math.floor(place + radius * width - 0.5))
        for column in range(first, last + 1):
            weights[row, column] = kernel((column + 0.5 - place) / width)
        total = weights[row].sum()
        if abs(total) >= 1000 * np.finfo(np.float32).tiny:
            weights[row] /= total
    return weights


def area_weights(old: int, new: int, *, align_corners: bool = False) -> np.ndarray:
    """Weights [new, old] of TensorFlow's ``ResizeArea`` along one axis: the share of each input pixel under an output pixel."""
    scale = (old - 1) / (new - 1) if align_corners and new > 1 else old / new
    weights = np.zeros((new, old))
    for row in range(new):
        start, end = row * scale, (row + 1) * scale
        for column in range(math.floor(start), math.ceil(end)):
            covered = min(column + 1, end) - max(column, start)
            weights[row, min(max(column, 0), old - 1)] += covered / scale
    return weights


TABLE = 1024
"""TensorFlow's bicubic resizing reads its kernel from a table with this many steps."""


def bicubic_weights(old: int, new: int, *, align_corners: bool, half_pixel: bool) -> np.ndarray:
    """Weights [new, old] of TensorFlow's ``ResizeBicubic`` along one axis (``resize_bicubic_op.cc``).

    The kernel is Keys' with a = -0.5 for half-pixel centres, -0.75 otherwise. Pixels outside are ignored in the first
    case, with the weights scaled to a sum of 1, and equal the edge pixel in the second.
    """
    a = -0.5 if half_pixel else -0.75
    scale = (old - 1) / (new - 1) if align_corners and new > 1 else old / new
    weights = np.zeros((new, old))
    for row in range(new):
        place = np.float32((row + 0.5) * scale - 0.5) if half_pixel else np.float32(row * scale)
        start = math.floor(place)
        step = round(float(place - start) * TABLE)
        near, far = step / TABLE, (TABLE - step) / TABLE
        for column, weight in (
            (start - 1, _outer(near + 1, a)),
            (start, _inner(near, a)),
            (start + 1, _inner(far, a)),
            (start + 2, _outer(far + 1, a)),
        ):
            if not half_pixel or 0 <= column < old:
                weights[row, min(max(column, 0), old - 1)] += weight
        if half_pixel:
            weights[row] /= weights[row].sum()
    return weights


def _inner(x: float, a: float) -> float:
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _outer(x: float, a: float) -> float:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _apply(write: Writer, rows: str, columns: str, new_height: int) -> None:
    """Multiply images [n, h, w, c] by weights [new h, h] and [new w, w]."""
    images = write.cast(write.node.input[0], FLOAT) if write.dtype(0) != FLOAT else write.node.input[0]
    flat = write.op("Reshape", images, write.integers(0, 0, -1), dtype=FLOAT)
    rest = write.slice(write.op("Shape", images, dtype=INT64), 0, 2, 4)
    shape = write.op("Concat", write.integers(0, new_height), rest, dtype=INT64, axis=0)
    tall = write.op("Reshape", write.op("MatMul", rows, flat, dtype=FLOAT), shape, dtype=FLOAT)
    write.finish("MatMul", columns, tall)


def _fixed(write: Writer) -> list[int] | None:
    """Height and width of the images; ``None``: they are free."""
    try:
        return write.sizes(0, (1, 2))
    except ValueError:
        return None


@replaces("ScaleAndTranslate")
def scale_and_translate(write: Writer) -> None:
    kind, antialias = write.node.attr["kernel_type"].s.decode(), bool(write.node.attr["antialias"].i)
    old, new = _fixed(write), [int(size) for size in write.value(1)]
    if old is None or not all(write.node.inputs[number].is_const() for number in (2, 3)):
        weights = []
        for place in (0, 1):
            scale, shift = (
                write.op("Gather", write.node.input[number], write.integer(place), dtype=FLOAT, axis=0)
                for number in (2, 3)
            )
            weights.append(Weights(write, place + 1, new[place]).of_kernel(kind, scale, shift, antialias=antialias))
    else:
        scales, shifts = write.value(2), write.value(3)
        weights = [
            write.floats(kernel_weights(kind, old[i], new[i], float(scales[i]), float(shifts[i]), antialias=antialias))
            for i in (0, 1)
        ]
    _apply(write, weights[0], weights[1], new[0])


@replaces("ResizeArea")
def resize_area(write: Writer) -> None:
    corners = bool(write.node.attr["align_corners"].i)
    old, new = _fixed(write), [int(size) for size in write.value(1)]
    if old is None and corners:
        raise ValueError("resizing by area with aligned corners can be converted only for images of a fixed size")
    rows, columns = (
        Weights(write, i + 1, new[i]).of_area()
        if old is None
        else write.floats(area_weights(old[i], new[i], align_corners=corners))
        for i in (0, 1)
    )
    _apply(write, rows, columns, new[0])


@replaces("ResizeBicubic")
def resize_bicubic(write: Writer) -> None:
    """tf2onnx's own ``Resize`` handles free sizes without half-pixel centres, and computed sizes."""
    old = _fixed(write)
    corners, half = (bool(write.node.attr[name].i) for name in ("align_corners", "half_pixel_centers"))
    if not write.node.inputs[1].is_const() or (old is None and not half):
        Resize.version_11(write.ctx, write.node, **write.more)
        return
    new = [int(size) for size in write.value(1)]
    rows, columns = (
        Weights(write, i + 1, new[i]).of_cubics(TABLE)
        if old is None
        else write.floats(bicubic_weights(old[i], new[i], align_corners=corners, half_pixel=half))
        for i in (0, 1)
    )
    _apply(write, rows, columns, new[0])


@replaces("ResizeNearestNeighbor")
def resize_nearest(write: Writer) -> None:
    """The nearest rows and columns, gathered along one axis after the other.

    tf2onnx's own ``Resize`` selects others when an image shrinks. It is used for enlarging by integer factors, which it converts
    correctly and engines support best, and for computed sizes.
    """
    corners, half = (bool(write.node.attr[name].i) for name in ("align_corners", "half_pixel_centers"))
    old = [write.ctx.get_shape(write.node.input[0])[axis] for axis in (1, 2)]
    if not write.node.inputs[1].is_const() or (
        not corners and all(size > 0 and int(new) % size == 0 for size, new in zip(old, write.value(1), strict=True))
    ):
        Resize.version_11(write.ctx, write.node, **write.more)
        return
    rows, columns = (
        _nearest(write, axis, int(new), align_corners=corners, half_pixel=half)
        for axis, new in zip((1, 2), write.value(1), strict=True)
    )
    write.finish("Gather", write.op("Gather", write.node.input[0], rows, axis=1), columns, axis=2)


def _nearest(write: Writer, axis: int, new: int, *, align_corners: bool, half_pixel: bool) -> str:
    """Indices of the nearest entries, which TensorFlow computes in 32-bit floats (``resize_nearest_neighbor_op.cc``)."""
    shape = write.op("Shape", write.node.input[0], dtype=INT64)
    size = write.op("Gather", shape, write.integer(axis), dtype=INT64, axis=0)
    last = write.op("Sub", size, write.integer(1), dtype=INT64)
    if align_corners and new > 1:
        scale = write.op("Div", write.cast(last, FLOAT), write.floats(new - 1), dtype=FLOAT)
    else:
        scale = write.op("Div", write.cast(size, FLOAT), write.floats(new), dtype=FLOAT)
    steps = write.floats(np.arange(new) + (0.5 if half_pixel else 0.0))
    places = write.op("Mul", steps, scale, dtype=FLOAT)
    if align_corners:
        places = write.op("Add", places, write.floats(0.5), dtype=FLOAT)
    return write.op("Min", write.cast(write.op("Floor", places, dtype=FLOAT), INT64), last, dtype=INT64)
