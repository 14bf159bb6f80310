"""ONNX graphs: facts, sizes, provenance of layers, and a picture."""
