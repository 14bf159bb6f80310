"""Conversion to ONNX: the routes, and the comparison that every conversion must pass."""

CONVERSION = 2
"""Version of the conversion; raise it when the same model converts to another file, so that the store discards earlier ones."""
