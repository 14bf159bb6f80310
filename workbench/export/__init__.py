"""To ONNX: the ways there, and the comparison that every conversion must pass."""
