"""Serve a deployment by Triton Inference Server, check it through HTTP and gRPC, and measure it under load."""
