"""Weights of resized images whose height and width are free: computed in the graph, by the formulas of ``resizing``."""

from __future__ import annotations

import math

from workbench.export.handlers.nodes import BOOL, FLOAT, INT64, Writer

CUBICS = {"keyscubic": (0.0, 0.5), "mitchellcubic": (1 / 3, 1 / 3)}
"""The parameters B and C of Mitchell and Netravali."""


class Weights:
    """The weights [new, size] along one axis of a node's images [n, h, w, c]."""

    def __init__(self, write: Writer, axis: int, new: int) -> None:
        self.write, self.new, self.number = write, new, write.floats
        shape = write.op("Shape", write.node.input[0], dtype=INT64)
        size = write.op("Gather", shape, write.integer(axis), dtype=INT64, axis=0)
        steps = write.op("Range", write.integer(0), size, write.integer(1), dtype=INT64)
        self.size, self.columns = write.cast(size, FLOAT), write.cast(steps, FLOAT)

    def math(self, kind: str, *inputs: str) -> str:
        return self.write.op(kind, *inputs, dtype=FLOAT)

    def rows(self, offset: float) -> str:
        """The rows' numbers plus ``offset``, as a column."""
        return self.write.floats([[row + offset] for row in range(self.new)])

    def scale(self) -> str:
        """Old size divided by new size."""
        return self.math("Div", self.size, self.number(self.new))

    def of_area(self) -> str:
        """The share of each input pixel that an output pixel covers."""
        scale = self.scale()
        start, end = (self.math("Mul", self.rows(offset), scale) for offset in (0, 1))
        right = self.math("Min", self.math("Add", self.columns, self.number(1)), end)
        covered = self.math("Sub", right, self.math("Max", self.columns, start))
        return self.math("Div", self.math("Relu", covered), scale)

    def of_cubics(self, table: int) -> str:
        """Keys' kernel for half-pixel centres, at positions rounded to the steps of TensorFlow's table."""
        place = self.math("Sub", self.math("Mul", self.rows(0.5), self.scale()), self.number(0.5))
        start, steps = self.math("Floor", place), self.number(table)
        rounded = self.math("Round", self.math("Mul", self.math("Sub", place, start), steps))
        place = self.math("Add", start, self.math("Div", rounded, steps))
        return self._normalized(self._cubic(self.math("Sub", self.columns, place), "keyscubic"))

    def of_kernel(self, kind: str, scale: str, shift: str, *, antialias: bool) -> str:
        """TensorFlow's ``ScaleAndTranslate``; ``scale`` (new / old) and ``shift`` are scalars of the graph.

        Raises:
            ValueError: the kernel is not one that Keras uses.
        """
        one, half = self.number(1), self.number(0.5)
        inverse = self.math("Div", one, scale)
        place = self.math("Mul", self.math("Sub", self.rows(0.5), shift), inverse)
        away = self.math("Sub", self.math("Add", self.columns, half), place)
        if antialias:
            away = self.math("Div", away, self.math("Max", inverse, one))
        weights = self._normalized(self._kernel(away, kind))
        inside = self.write.op(
            "And",
            self.write.op("GreaterOrEqual", place, self.number(0), dtype=BOOL),
            self.write.op("LessOrEqual", place, self.size, dtype=BOOL),
            dtype=BOOL,
        )
        return self.math("Where", inside, weights, self.number(0))

    def _kernel(self, x: str, kind: str) -> str:
        if kind in CUBICS:
            return self._cubic(x, kind)
        if kind == "triangle":
            return self.math("Relu", self.math("Sub", self.number(1), self.math("Abs", x)))
        if kind.startswith("lanczos"):
            return self._lanczos(x, float(kind.removeprefix("lanczos")))
        raise ValueError(f"the kernel {kind} can be converted only for images of a fixed size")

    def _lanczos(self, x: str, radius: float) -> str:
        distance = self.math("Abs", x)
        middle = self.write.op("LessOrEqual", distance, self.number(1e-3), dtype=BOOL)
        angle = self.math("Mul", self.math("Where", middle, self.number(1), x), self.number(math.pi))
        waves = self.math(
            "Mul", self.math("Sin", angle), self.math("Sin", self.math("Div", angle, self.number(radius)))
        )
        value = self.math("Div", self.math("Mul", waves, self.number(radius)), self.math("Mul", angle, angle))
        value = self.math("Where", middle, self.number(1), value)
        outside = self.write.op("Greater", distance, self.number(radius), dtype=BOOL)
        return self.math("Where", outside, self.number(0), value)

    def _cubic(self, x: str, kind: str) -> str:
        b, c = CUBICS[kind]
        x = self.math("Abs", x)
        near = self._polynomial(x, (12 - 9 * b - 6 * c, -18 + 12 * b + 6 * c, 0, 6 - 2 * b))
        far = self._polynomial(x, (-b - 6 * c, 6 * b + 30 * c, -12 * b - 48 * c, 8 * b + 24 * c))
        in_one, in_two = (self.write.op("Less", x, self.number(limit), dtype=BOOL) for limit in (1, 2))
        return self.math("Where", in_one, near, self.math("Where", in_two, far, self.number(0)))

    def _polynomial(self, x: str, factors: tuple[float, ...]) -> str:
        """A sixth of the polynomial, by Horner's rule."""
        total = self.number(factors[0] / 6)
        for factor in factors[1:]:
            total = self.math("Add", self.math("Mul", total, x), self.number(factor / 6))
        return total

    def _normalized(self, weights: str) -> str:
        """Rows scaled to a sum of 1; rows of zeros are unchanged."""
        total = self.write.op("ReduceSum", weights, self.write.integers(-1), dtype=FLOAT, keepdims=1)
        empty = self.write.op("Equal", total, self.number(0), dtype=BOOL)
        return self.math("Div", weights, self.math("Where", empty, self.number(1), total))
