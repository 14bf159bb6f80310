"""ONNX to ONNX: every number format is a rewrite of the graph."""
