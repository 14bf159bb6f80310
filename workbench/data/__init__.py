"""Samples in: real and made-up inputs, their labels, and which of them calibrate and which test."""
