"""Operators of ONNX as they were before opset 7, for ONNX's reference evaluator, which has the later ones only.

Two inputs of different shapes then needed ``broadcast = 1``, and ``axis`` was the axis of the first that the second's axes begin at
(ONNX's changelog, Add-6: "Broadcasting"); without ``axis`` they are the last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def old_operators() -> list[type[Any]]:
    """Classes for the argument ``new_ops`` of ``onnx.reference.ReferenceEvaluator``, for a model of an opset below 7."""
    import numpy as np

    functions: dict[str, Callable[..., Any]] = {
        "Add": np.add,
        "And": np.logical_and,
        "Div": _divided,
        "Equal": np.equal,
        "Greater": np.greater,
        "Less": np.less,
        "Mul": np.multiply,
        "Or": np.logical_or,
        "Pow": np.power,
        "Sub": np.subtract,
        "Xor": np.logical_xor,
    }
    return [_operator(name, function) for name, function in functions.items()]


def _divided(a: Any, b: Any) -> Any:
    """``a / b``; for integers rounded towards zero."""
    import numpy as np

    return np.divide(a, b) if a.dtype.kind == "f" else np.trunc(np.true_divide(a, b)).astype(a.dtype)


def _operator(name: str, function: Callable[..., Any]) -> type[Any]:
    from onnx.reference.op_run import OpRun

    def _run(
        _self: Any,
        a: Any,
        b: Any,
        axis: int | None = None,
        broadcast: int | None = None,
        consumed_inputs: Any = None,  # noqa: ARG001 - of the oldest form
    ) -> tuple[Any]:
        if broadcast and 0 < b.ndim < a.ndim:
            begins = a.ndim - b.ndim if axis is None else axis % a.ndim
            b = b.reshape(*b.shape, *[1] * (a.ndim - begins - b.ndim))
        return (function(a, b),)

    return type(name, (OpRun,), {"op_domain": "", "_run": _run})
