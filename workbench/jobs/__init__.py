"""Runs in separate processes, which continue when the notebook that started them ends."""
