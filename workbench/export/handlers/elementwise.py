"""Elementwise functions and cumulative products."""

from __future__ import annotations

from workbench.export.handlers.nodes import BOOL, INT64, Writer, replaces


@replaces("Erfc")
def erfc(write: Writer) -> None:
    """1 - erf(x), in Keras' exact GELU."""
    one = write.constant(1, write.dtype(0))
    write.finish("Sub", one, write.op("Erf", write.node.input[0]))


@replaces("Expm1")
def expm1(write: Writer) -> None:
    """exp(x) - 1; near 0, where this loses precision, 2t / (1 - t) with t = tanh(x / 2)."""
    x, kind = write.node.input[0], write.dtype(0)
    one, two, half = (write.constant(value, kind) for value in (1, 2, 0.5))
    large = write.op("Sub", write.op("Exp", x), one)
    tangent = write.op("Tanh", write.op("Mul", x, half))
    small = write.op("Div", write.op("Mul", tangent, two), write.op("Sub", one, tangent))
    write.finish("Where", write.op("Less", write.op("Abs", x), half, dtype=BOOL), small, large)


@replaces("Log1p")
def log1p(write: Writer) -> None:
    """log(u) x / (u - 1) with the rounded u = 1 + x, and x if u is 1 (Kahan's formula, accurate near 0)."""
    x, kind = write.node.input[0], write.dtype(0)
    one, limit = write.constant(1, kind), write.constant(0.5, kind)
    total = write.op("Add", x, one)
    rest = write.op("Sub", total, one)
    same = write.op("Equal", rest, write.constant(0, kind), dtype=BOOL)
    rest = write.op("Where", same, one, rest)
    log = write.op("Log", total)
    near = write.op("Where", same, x, write.op("Mul", log, write.op("Div", x, rest)))
    write.finish("Where", write.op("Less", write.op("Abs", x), limit, dtype=BOOL), near, log)


CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
          -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
        -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


@replaces("Erfinv", "Ndtri")
def inverse_erf(write: Writer) -> None:
    """Giles' polynomials in single precision ("Approximating the erfinv function", GPU Computing Gems 2, 2011).

    With w = -log((1 - x)(1 + x)): x times a polynomial in w - 2.5 if w is below 5, in √w - 3 otherwise. The quantile of the
    normal distribution is √2 erfinv(2p - 1).
    """
    kind = write.dtype(0)
    one, two = write.constant(1, kind), write.constant(2, kind)
    x = write.node.input[0]
    if write.node.type == "Ndtri":
        x = write.op("Sub", write.op("Mul", x, two), one)
    inside = write.op("Mul", write.op("Sub", one, x), write.op("Add", one, x))
    w = write.op("Neg", write.op("Log", inside))
    centre = _polynomial(write, write.op("Sub", w, write.constant(2.5, kind)), CENTRE, kind)
    root = write.op("Sqrt", write.op("Relu", w))
    tail = _polynomial(write, write.op("Sub", root, write.constant(3, kind)), TAIL, kind)
    small = write.op("Less", w, write.constant(5, kind), dtype=BOOL)
    scale = write.constant(2**0.5 if write.node.type == "Ndtri" else 1.0, kind)
    write.finish("Mul", write.op("Mul", x, scale), write.op("Where", small, centre, tail))


def _polynomial(write: Writer, x: str, factors: tuple[float, ...], kind: int) -> str:
    """Evaluate a polynomial by Horner's rule, highest power first."""
    total = write.constant(factors[0], kind)
    for factor in factors[1:]:
        total = write.op("Add", write.op("Mul", total, x), write.constant(factor, kind))
    return total


@replaces("Cumprod")
def cumprod(write: Writer) -> None:
    """Cumulative product by doubling: after the step with shift s, each entry is the product of up to 2s entries."""
    rank = write.rank(0)
    axis = int(write.value(1)) % rank
    size, kind = write.sizes(0, (axis,))[0], write.dtype(0)
    exclusive, reverse = (
        bool(write.node.attr[name].i) if name in write.node.attr else False for name in ("exclusive", "reverse")
    )
    total = _reversed(write, write.node.input[0], axis) if reverse else write.node.input[0]
    if exclusive:
        total = _shifted(write, total, axis, size, 1, kind)
    shift = 1
    while shift < size:
        total = write.op("Mul", total, _shifted(write, total, axis, size, shift, kind))
        shift *= 2
    write.finish("Identity", _reversed(write, total, axis) if reverse else total)


def _reversed(write: Writer, tensor: str, axis: int) -> str:
    return write.op(
        "Slice", tensor, write.integers(-1), write.integers(-(2**31)), write.integers(axis), write.integers(-1)
    )


def _shifted(write: Writer, tensor: str, axis: int, size: int, shift: int, kind: int) -> str:
    """The tensor shifted towards the end by ``shift``, with ones in front."""
    one = write.constant(1, kind)
    head = write.slice(tensor, axis, 0, shift)
    ones = write.op("Expand", one, write.op("Shape", head, dtype=INT64), dtype=kind)
    return write.op("Concat", ones, write.slice(tensor, axis, 0, size - shift), axis=axis)
