"""How variants take turns when they are measured: one interleaver for latency, load, clocks and races."""
