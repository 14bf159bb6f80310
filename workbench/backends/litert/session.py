"""An open TensorFlow Lite file.

Integer outputs of a quantized file are returned as the real numbers that they represent, ``scale × (stored - zero_point)`` with
the numbers in the file, as every other engine returns them. That scaling is part of the region host-to-host, because an
application that needs real numbers does it in every call, and an engine made from the ONNX form of the same file does it in
its last node. It is not part of the region compute. Integer outputs without a scale (class numbers, indices) or with one
scale for each channel are returned as stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.backends.base import BaseSession
from workbench.protocols import Caller, Callers
from workbench.records import InEffect, real_numbers

if TYPE_CHECKING:
    import numpy as np


class LiteRtSession(BaseSession):
    """One interpreter, allocated again when the shapes of the inputs change."""

    def __init__(self, make: Callable[[], Any], names: dict[str, Any]) -> None:
        self._make, self._names = make, names
        self._interpreter = make()
        self._inputs: dict[str, int] = names["inputs"]
        self._outputs: dict[str, int] = names["outputs"]
        self._scales: dict[str, tuple[float, int]] = names["scales"]
        # a recurrent layer keeps its state in a variable; the source model starts every call with the initial state
        self._reset: bool = names["variables"]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._owner: object = None  # identifies the inputs that are in the interpreter

    def close(self) -> None:
        del self._interpreter

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run from host memory to host memory; integer outputs are scaled to real numbers in the call."""
        self._fill(feeds, None)
        self._invoke()
        found = {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
        for name, (scale, zero_point) in self._scales.items():
            found[name] = real_numbers(found[name], scale, zero_point)
        return found

    def stage(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        owner = object()
        self._fill(feeds, owner)

        def call() -> None:
            if self._owner is not owner:  # another call has replaced the inputs
                self._fill(feeds, owner)
            self._invoke()

        return call

    def callers(self, count: int) -> Callers:
        """Create an interpreter for each caller, because one serves one thread at a time; the weights are mapped from one file."""
        each = [LiteRtSession(self._make, self._names) for _ in range(count)]
        return Callers(tuple(Caller(one.run, one.stage) for one in each), "an interpreter for each")

    def in_effect(self) -> tuple[InEffect, ...]:
        """The interpreter does not report its threads. XNNPACK, which runs most operations, switches denormals off in each thread
        that computes (``PTHREADPOOL_FLAG_DISABLE_DENORMALS`` in XNNPACK's operator-run.c).
        """
        names = [each["op_name"] for each in self._interpreter._get_ops_details()]  # noqa: SLF001 - no other way
        handed = names.count("DELEGATE")
        found = [InEffect("delegate", f"{handed} parts" if handed else "none", "operations of the open interpreter")]
        if handed:
            found.append(InEffect("denormals", "flushed to zero", "XNNPACK's source, for the delegated operations"))
        return tuple(found)

    def _fill(self, feeds: Mapping[str, np.ndarray], owner: object) -> None:
        shapes = {name: feeds[name].shape for name in self._inputs}
        if shapes != self._shapes:
            self._shapes = {}
            for name, index in self._inputs.items():
                self._interpreter.resize_tensor_input(index, shapes[name])
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, feeds[name])
        self._owner = owner

    def _invoke(self) -> None:
        if self._reset:
            self._interpreter.reset_all_variables()
        self._interpreter.invoke()
