"""Timing inside a worker: the only clock, for one caller and for several."""
