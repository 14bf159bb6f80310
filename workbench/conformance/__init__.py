"""Engines against ONNX's own definition: the operator cases that the package ``onnx`` carries, run through each backend."""
