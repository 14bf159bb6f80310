"""The panel: the only part that knows ipywidgets. It edits an Experiment, shows Results and measures nothing."""
