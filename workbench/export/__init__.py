"""To ONNX: the ways there, and the comparison that every conversion must pass."""

CONVERSION = 2
"""Raised when the same model converts to another file, so that the store does not hand out conversions of the older kind."""
