"""What a worker does to an engine: the only clock, for one caller and for several."""
