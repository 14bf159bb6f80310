"""Runs in the stores of experiment trackers."""
