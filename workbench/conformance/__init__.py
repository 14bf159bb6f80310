"""Conformance of engines to ONNX's definition: run the operator cases of the package ``onnx`` with each backend."""
