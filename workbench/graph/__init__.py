"""What an ONNX graph holds: its facts, sizes, constants and picture."""
