"""The parts of a run: prepared models, rows, open workers, rounds, scores, and what the store knows of earlier ones."""
