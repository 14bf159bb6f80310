"""Models in: refused before a library sees them, one reader for each format, probed."""
