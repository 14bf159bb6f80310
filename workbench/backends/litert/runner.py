"""Run the model of a deployment by LiteRT (TensorFlow Lite).

This file is copied into deployments. It imports NumPy and an interpreter: ``ai_edge_litert`` or, on devices with the older package,
``tflite_runtime``.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]


def _interpreter() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ModuleNotFoundError:
        return importlib.import_module("tflite_runtime.interpreter").Interpreter


def _real(stored: Any, scale: float, zero_point: int) -> Any:
    """Stored integers as the real numbers that they represent: ``scale × (stored - zero_point)``."""
    import numpy as np

    if not scale or stored.dtype.kind not in "iu":
        return stored
    return np.asarray((stored.astype(np.float64) - zero_point) * scale).astype(np.float32)


def open_model(folder: Path, options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, Any]]:
    """Open the file ``options["file"]`` in ``folder``.

    Args:
        folder: the folder with the model's files.
        options: ``file``; ``threads``; ``inputs`` and ``outputs``, the numbers of tensors by name; ``scales``, by output the scale and the
            zero point of stored integers; ``variables``, whether the model keeps a state, which is reset at the start of every call.

    Returns:
        A function from arrays by input name to arrays by output name. Each thread that calls it has an interpreter of its own.

    """
    make, kept = _interpreter(), threading.local()
    inputs, outputs, scales = options["inputs"], options["outputs"], options["scales"]

    def run(feeds: Arrays) -> dict[str, Any]:
        shapes = {name: tuple(feeds[name].shape) for name in inputs}
        if not hasattr(kept, "interpreter"):
            kept.interpreter = make(model_path=str(folder / options["file"]), num_threads=int(options["threads"]))
            kept.shapes = None
        interpreter = kept.interpreter
        if shapes != kept.shapes:
            for name, number in inputs.items():
                interpreter.resize_tensor_input(number, shapes[name])
            interpreter.allocate_tensors()
            kept.shapes = shapes
        for name, number in inputs.items():
            interpreter.set_tensor(number, feeds[name])
        if options["variables"]:
            interpreter.reset_all_variables()
        interpreter.invoke()
        found = {name: interpreter.get_tensor(number) for name, number in outputs.items()}
        return {name: _real(array, *scales.get(name, (0.0, 0))) for name, array in found.items()}

    return run
