"""Tables of what was found: verdicts, layers, costs, limits, noise, and why something is not faster."""
