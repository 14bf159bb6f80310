"""Rewrite ONNX models to lower precisions."""
