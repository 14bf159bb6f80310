"""What backends share of ONNX Runtime, OpenVINO and TensorFlow: sessions, profilers, and whose node a layer was."""
