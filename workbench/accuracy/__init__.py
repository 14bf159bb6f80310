"""How right an engine is, and whether a variant holds its budget."""
