"""Interleaved measurement: one interleaver for latency, load, clocks and races, and the verdict rule."""
