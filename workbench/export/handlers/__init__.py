"""Handlers that teach tf2onnx operations of TensorFlow that it lacks, or gets wrong, and that ONNX can express.

Each handler replaces one TensorFlow node by ONNX nodes of opset 17 with the same result. :func:`register` adds them to
tf2onnx's own. What they make is compared with the source like every conversion.
"""

from __future__ import annotations

import importlib

MODULES = ("bits", "convolution", "elementwise", "images", "linear", "resizing", "searching", "spectral", "updates")


def register() -> None:
    """Add the handlers to tf2onnx, over its own where both know an operation. Calling it again changes nothing."""
    importlib.import_module("tf2onnx.tfonnx")  # registers tf2onnx's own first
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")
