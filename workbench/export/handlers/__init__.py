"""Handlers for TensorFlow operations that tf2onnx lacks or converts incorrectly, and that ONNX can express.

Each handler replaces one TensorFlow node by ONNX nodes of opset 17 with the same result. :func:`register` adds them to
tf2onnx's own. Their results are compared with the source like every conversion.
"""

from __future__ import annotations

import importlib

MODULES = ("arrays", "bits", "convolution", "elementwise", "images", "resizing", "spectral", "transforms")


def register() -> None:
    """Add the handlers to tf2onnx; they replace its own for the same operations. Further calls have no effect."""
    importlib.import_module("tf2onnx.tfonnx")  # registers tf2onnx's own handlers first
    for name in MODULES:
        importlib.import_module(f"{__name__}.{name}")
