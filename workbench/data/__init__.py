"""Samples: real and generated inputs, their labels, and their division into calibration and test samples."""
