"""NVIDIA GPUs through PyCUDA: context, streams, buffers, events, graphs."""
