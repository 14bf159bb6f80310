"""Metrics of engines, their agreement with the source model, and checks of the accuracy budget."""
