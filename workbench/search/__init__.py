"""Searches: for the layers that mixed precision leaves in FP32, and for the fastest variant under limits."""
